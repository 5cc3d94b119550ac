/// A stream of uniform numbers by counter: the number at a place depends on nothing but seed, stream and place.
///
/// Streams with different names are independent for all purposes of sampling; whatever is reported comes from a stream that the
/// search has never read.
#[derive(Debug, Clone, Copy)]
pub struct CounterStream {
    key: u64,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Choosing planes and splits.
    Search = 1,
    /// Deciding whether to stop.
    Decision = 2,
    /// The figures that are reported.
    Report = 3,
    /// Looking for contradictions.
    Audit = 4,
    /// Walks through deep pieces.
    Walk = 5,
}

impl CounterStream {
    /// The stream of a seed for a purpose; `round` tells streams for one purpose apart.
    pub fn new(seed: u64, purpose: Purpose, round: u64) -> Self {
        Self { key: mix(mix(mix(seed) ^ purpose as u64) ^ round) }
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    pub fn unit(self, place: u64) -> f64 {
        let bits = mix(self.key.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014), after one step of its counter.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_streams_differ() {
        let [first, second] = [Purpose::Decision, Purpose::Report].map(|purpose| CounterStream::new(7, purpose, 0));
        let n = 100_000;
        let (mut sum, mut squares, mut product) = (0.0, 0.0, 0.0);
        for k in 0..n {
            let (u, v) = (first.unit(k) - 0.5, second.unit(k) - 0.5);
            sum += u;
            squares += u * u;
            product += u * v;
        }
        // Five standard deviations.
        assert!(sum.abs() < 5.0 * (n as f64 / 12.0).sqrt());
        assert!((squares / n as f64 - 1.0 / 12.0).abs() < 5.0 * (1.0 / 180.0 / n as f64).sqrt());
        assert!(product.abs() < 5.0 / 12.0 * (n as f64).sqrt());
    }

    #[test]
    fn a_place_is_all_that_matters() {
        let stream = CounterStream::new(3, Purpose::Search, 1);
        assert_eq!(stream.unit(12).to_bits(), CounterStream::new(3, Purpose::Search, 1).unit(12).to_bits());
        assert_ne!(stream.unit(12).to_bits(), CounterStream::new(3, Purpose::Search, 2).unit(12).to_bits());
    }
}

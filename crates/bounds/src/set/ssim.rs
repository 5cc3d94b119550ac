use crate::set::boxed::{self, Found, Guess, Row};
use crate::set::slices::{Ball, CONVEX_FROM, Centred, Least, Moments, Slices};
use crate::set::{Effort, Room};

/// Images similar to a reference, each part of them in one window: `Σ_c SSIM(x_c, r_c) ≥ τ · parts`.
///
/// With one part this is a family of balls. With several (one for every channel) it is the union, over all ways to share
/// `parts · (1 − τ)` among them, of products of such families; shares are handled in cells, each with its upper end.
#[derive(Debug, Clone, PartialEq)]
pub struct SsimSet {
    parts: Vec<Part>,
    is_empty: bool,
}

/// One window.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// Its first value.
    first: usize,
    centred: Centred,
    /// The balls of every cell of its share, growing; `None`: any image.
    levels: Vec<Option<Slices>>,
}

/// How far the bounding of a row is, for one part.
#[derive(Debug, Clone)]
pub struct State {
    guess: Guess,
    moments: Moments,
    rounding: f64,
    /// A bound of `Σ s x` over the box alone.
    over_box: f64,
    found: Found,
    /// The level that the part was given, and the least value there.
    level: usize,
    least: Least,
    last: Option<(f64, f64)>,
    pace: f64,
    last_move: f64,
}

/// Cells of the shares.
const LEVELS: usize = 96;
/// Below this threshold a part may be anything.
const LEAST_THRESHOLD: f64 = 0.02;
/// Shortest step of the mean, as a share of what is wanted.
const LEAST_STEP: f64 = 0.05;
/// How much steeper the residual may be than the free values alone make it.
const STEEPEST: f64 = 30.0;

impl SsimSet {
    /// From this threshold on the set is convex, and its mean need not be split: rows are bounded without a gap.
    pub const CONVEX_FROM: f64 = CONVEX_FROM;

    /// Images of values in `[0, 1]` whose similarity to `reference`, in one window, is at least `threshold`, and whose mean lies in
    /// `means`.
    ///
    /// # Panics
    /// If the threshold is not in `(0, 1]` or the reference is empty: whoever asks has checked.
    pub fn new(reference: &[f64], threshold: f64, means: [f64; 2]) -> Self {
        assert!(threshold > 0.0 && threshold <= 1.0 && !reference.is_empty(), "the threshold was checked");
        let centred = Centred::new(reference);
        let slices = centred.slices(threshold, [means[0].max(0.0), means[1].min(1.0)]);
        let is_empty = slices.is_none();
        Self { parts: vec![Part { first: 0, centred, levels: vec![slices] }], is_empty }
    }

    /// Images of values in `[0, 1]` whose similarity to `reference`, averaged over parts of equal length, is at least `threshold`.
    ///
    /// # Panics
    /// As [`Self::new`], and if the reference cannot be cut into so many parts.
    pub fn of_channels(reference: &[f64], n_channels: usize, threshold: f64) -> Self {
        if n_channels == 1 {
            return Self::new(reference, threshold, [0.0, 1.0]);
        }
        assert!(threshold > 0.0 && threshold <= 1.0 && !reference.is_empty(), "the threshold was checked");
        assert!(reference.len().is_multiple_of(n_channels), "channels are of equal size");
        let n = reference.len() / n_channels;
        // What all parts together may lack, rounded up; so are the cells' upper ends.
        let lack = n_channels as f64 * (1.0 - threshold) * (1.0 + 1e-15);
        let part = |channel: usize| {
            let centred = Centred::new(&reference[channel * n..][..n]);
            let level = |k: usize| {
                let least = (1.0 - lack * ((k + 1) as f64 / LEVELS as f64) * (1.0 + 1e-15)).next_down();
                if least < LEAST_THRESHOLD { None } else { centred.slices(least, [0.0, 1.0]) }
            };
            let levels = (0..LEVELS).map(level).collect();
            Part { first: channel * n, centred, levels }
        };
        Self { parts: (0..n_channels).map(part).collect(), is_empty: false }
    }

    /// Number of values.
    pub fn n_inputs(&self) -> usize {
        self.parts.iter().map(|part| part.centred.values.len()).sum()
    }

    /// Whether the set is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The means that occur, if there is one part.
    pub fn means(&self) -> Option<[f64; 2]> {
        match self.parts.as_slice() {
            [Part { levels, .. }] => levels[0].as_ref().map(Slices::means),
            _ => None,
        }
    }

    /// The reference and the balls, if there is one part and something in it.
    #[cfg(feature = "gpu")]
    pub(super) fn single(&self) -> Option<(&Centred, &Slices)> {
        match self.parts.as_slice() {
            [Part { centred, levels, .. }] => levels[0].as_ref().map(|slices| (centred, slices)),
            _ => None,
        }
    }

    /// A box that contains the set and lies in `[0, 1]`; `None` if the set is empty.
    pub fn enclosure(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        if self.is_empty {
            return None;
        }
        Some(self.parts.iter().flat_map(Part::ends).unzip())
    }

    /// A lower bound of `Σ a x` over the set and the box in `room`, sound in real arithmetic; the point that nearly takes it is left
    /// in `room`. Stops early once the bound is more than `enough`.
    #[inline(always)]
    pub fn least(&self, room: &mut Room, enough: f64, effort: Effort) -> f64 {
        if self.is_empty {
            return f64::INFINITY;
        }
        let n = self.n_inputs();
        room.point.resize(n, 0.0);
        room.trial.resize(n, 0.0);
        let Room { a, lower, upper, point, trial, states, tables, .. } = room;
        states.clear();
        let rows = |part: &Part| -> (usize, usize) { (part.first, part.first + part.centred.values.len()) };
        // The set alone.
        for part in &self.parts {
            let (first, end) = rows(part);
            let row = part.row((&a[first..end], &lower[first..end], &upper[first..end]));
            states.push(State::alone(&row));
        }
        let mut best = self.allot(states, tables);
        let mut is_flat = false;
        for (part, state) in self.parts.iter().zip(states.iter_mut()) {
            state.guess.mean = state.least.mean;
            state.guess.ball = state.least.ball;
            state.guess.reach = state.least.ball.radius / state.moments.norm;
            if !(state.guess.reach.is_finite() && state.guess.reach > 0.0) {
                is_flat = true;
                state.guess.reach = 1e-6;
            }
            let (first, end) = rows(part);
            for i in first..end {
                let centre = state.guess.mean + state.guess.ball.quotient * part.centred.values[i - first];
                point[i] = centre.clamp(lower[i], upper[i]);
            }
        }
        if is_flat && self.parts.len() == 1 {
            return best;
        }
        let (mut scale, mut is_settled, mut best_guess) = (0.0, false, states[0].guess);
        for k in 0..effort.steps {
            let (mut over_box, mut size, mut value) = (0.0, 0.0, 0.0);
            for (part, state) in self.parts.iter().zip(states.iter_mut()) {
                let (first, end) = rows(part);
                let row = part.row((&a[first..end], &lower[first..end], &upper[first..end]));
                state.found = boxed::step(row, &state.guess, &mut trial[first..end]);
                state.moments = state.found.moments;
                state.rounding = state.found.rounding;
                state.over_box = state.found.moved_over_box;
                over_box += state.found.over_box;
                size += state.found.over_box.abs();
                value += state.found.value;
            }
            let bound = self.allot(states, tables) + over_box;
            let bound = bound - (1e-15 + f64::EPSILON * self.parts.len() as f64) * (bound.abs() + size);
            if bound > best || k == 0 {
                // The first point is at least inside the box.
                std::mem::swap(point, trial);
                best = if bound > best { bound } else { best };
                best_guess = states[0].guess;
            }
            if k == 0 {
                // What the set allows at all: from the value at the reference down to the bound.
                let at_reference: f64 = self.parts.iter().map(|part| part.at_reference(a)).sum();
                scale = (at_reference - best).abs();
            }
            is_settled = best > enough || (value - best).abs() <= effort.gap * scale;
            if is_settled || !self.improve(states) {
                break;
            }
        }
        if let ([part], false, 1..) = (self.parts.as_slice(), is_settled, effort.trials) {
            let row = part.row((a, lower, upper));
            part.search(&row, best_guess, (&mut best, point, trial), (enough, effort));
        }
        best
    }

    /// Gives every part its share so that the parts' bounds together are least; returns their sum.
    fn allot(&self, states: &mut [State], tables: &mut Vec<f64>) -> f64 {
        if let ([part], [state]) = (self.parts.as_slice(), &mut *states) {
            let (value, least) = part.bound(0, state);
            state.least = least;
            return value;
        }
        // tables[p]: the least sum of the parts up to p whose cells' lower ends add up to at most k.
        tables.clear();
        tables.resize(states.len() * 2 * (LEVELS + 1), 0.0);
        let width = LEVELS + 1;
        let mut magnitude = 0.0;
        for (p, (part, state)) in self.parts.iter().zip(states.iter()).enumerate() {
            let (before, rest) = tables.split_at_mut(p * 2 * width);
            let (own, sums) = rest[..2 * width].split_at_mut(width);
            let mut size = 0.0_f64;
            for k in 0..LEVELS {
                let bound = part.bound(k, state).0;
                // Minima pass over what is not a number.
                own[k] = if bound.is_nan() { f64::NEG_INFINITY } else { bound };
                size = size.max(bound.abs());
            }
            magnitude += size;
            own[LEVELS] = own[LEVELS - 1];
            if p == 0 {
                sums.copy_from_slice(own);
                continue;
            }
            let earlier = &before[(p - 1) * 2 * width + width..][..width];
            for k in 0..width {
                sums[k] = (0..=k).map(|own_k| own[own_k] + earlier[k - own_k]).fold(f64::INFINITY, f64::min);
            }
        }
        let mut k = LEVELS;
        let total = tables[(states.len() - 1) * 2 * width + width + k];
        for p in (0..states.len()).rev() {
            let own = &tables[p * 2 * width..][..width];
            let mut level = k;
            if p > 0 {
                let earlier = &tables[(p - 1) * 2 * width + width..][..width];
                let sum = |own_k: &usize| own[*own_k] + earlier[k - *own_k];
                level = (0..=k).min_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap_or(0);
            }
            k -= level;
            states[p].level = level.min(LEVELS - 1);
            states[p].least = self.parts[p].bound(states[p].level, &states[p]).1;
        }
        // The rounding of the sums, whichever levels they are of.
        total - f64::EPSILON * self.parts.len() as f64 * magnitude
    }

    /// Moves every part's guess; whether that is possible.
    fn improve(&self, states: &mut [State]) -> bool {
        for (part, state) in self.parts.iter().zip(states.iter_mut()) {
            if let Some(slices) = &part.levels[state.level] {
                state.improve(slices, part.centred.values.len() as f64);
            }
        }
        let is_usable = |guess: &Guess| guess.reach.is_finite() && guess.reach > 0.0 && guess.offset.is_finite();
        states.iter().all(|state| is_usable(&state.guess))
    }
}

impl Part {
    fn row<'a>(&'a self, (a, lower, upper): (&'a [f64], &'a [f64], &'a [f64])) -> Row<'a> {
        Row { a, centred: &self.centred.values, lower, upper }
    }

    /// `Σ a r` over the part.
    fn at_reference(&self, a: &[f64]) -> f64 {
        let own = &a[self.first..][..self.centred.values.len()];
        own.iter().zip(&self.centred.values).map(|(a, value)| a * (value + self.centred.mean)).sum()
    }

    /// The ends of every value over the largest level.
    fn ends(&self) -> Vec<(f64, f64)> {
        let n = self.centred.values.len() as f64;
        let norm = (1.0 - 1.0 / n).max(0.0).sqrt() * (1.0 + 1e-15);
        let Some(slices) = self.levels.last().and_then(Option::as_ref) else {
            return vec![(0.0, 1.0); self.centred.values.len()];
        };
        let end = |value: f64, sign: f64| {
            let moments = Moments { sum: sign, product: sign * value, norm };
            let least = slices.least(&moments);
            sign * (least.value - self.centred.error * (1.0 + slices.largest_quotient()))
        };
        // What is not a number gives the ends of all images.
        let known = |end: f64, otherwise: f64| if end.is_nan() { otherwise } else { end.clamp(0.0, 1.0) };
        let ends = |&value: &f64| (known(end(value, 1.0), 0.0), known(end(value, -1.0), 1.0));
        self.centred.values.iter().map(ends).collect()
    }

    /// A bound of `Σ s x` over a level, with the rounding of its moments and of the reference inside; and what takes it.
    fn bound(&self, level: usize, state: &State) -> (f64, Least) {
        match &self.levels[level] {
            Some(slices) => {
                let least = slices.least(&state.moments);
                (lowered(slices, &least, state.rounding), least)
            }
            None => (state.over_box, Least { value: state.over_box, ..state.least }),
        }
    }

    /// Looks for a better guess around one by trial: for rows on which the steps swing, as they do where the box holds all but a
    /// few values.
    #[inline(never)]
    fn search(
        &self,
        row: &Row,
        mut guess: Guess,
        (best, point, trial): (&mut f64, &mut Vec<f64>, &mut Vec<f64>),
        (enough, effort): (f64, Effort),
    ) {
        let Some(slices) = &self.levels[0] else { return };
        let means = slices.means();
        let largest = row.a.iter().fold(0.0_f64, |largest, a| largest.max(a.abs()));
        let mut strides = [0.2 * (means[1] - means[0]), 0.2 * largest, 0.5];
        let mut trials = 0;
        while trials < effort.trials && strides[2] > 1e-6 && *best <= enough {
            let mut has_gained = false;
            for (which, side) in [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0), (2, 1.0), (2, -1.0)] {
                let mut next = guess;
                match which {
                    0 => next.mean = (guess.mean + side * strides[0]).clamp(means[0], means[1]),
                    1 => next.offset += side * strides[1],
                    _ => next.reach *= (side * strides[2]).exp(),
                }
                next.ball = slices.ball(next.mean);
                let found = boxed::step(*row, &next, trial);
                let least = slices.least(&found.moments);
                let bound = lowered(slices, &least, found.rounding) + found.over_box;
                let bound = bound - 1e-15 * (bound.abs() + found.over_box.abs());
                trials += 1;
                if bound > *best {
                    (*best, guess, has_gained) = (bound, next, true);
                    std::mem::swap(point, trial);
                }
            }
            if !has_gained {
                strides.iter_mut().for_each(|stride| *stride *= 0.5);
            }
        }
    }
}

impl State {
    /// A row as the set alone bounds it.
    #[inline(always)]
    fn alone(row: &Row) -> Self {
        let offset = row.a.iter().sum::<f64>() / row.a.len() as f64;
        let (moments, rounding, over_box) = boxed::alone(row, offset);
        let ball = Ball::default();
        Self {
            guess: Guess { mean: 0.0, ball, offset, reach: 1.0 },
            moments,
            rounding,
            over_box,
            found: Found::default(),
            level: 0,
            least: Least { value: f64::NEG_INFINITY, mean: 0.5, ball },
            last: None,
            pace: 1.0,
            last_move: 0.0,
        }
    }

    /// Moves the guess towards what the last step found: the mean that the set's own minimiser has, the offset that makes the sum
    /// of `x` agree with it, the reach that puts `x` on the ball.
    fn improve(&mut self, slices: &Slices, n: f64) {
        let Self { guess, found, least, last, pace, last_move, .. } = self;
        let wanted = least.mean - guess.mean;
        // The mean and the offset pull at each other: shorter steps where they swing.
        *pace = if wanted * *last_move < 0.0 { (0.5 * *pace).max(LEAST_STEP) } else { (1.2 * *pace).min(1.0) };
        *last_move = wanted;
        let mean = guess.mean + *pace * wanted;
        let ball = slices.ball(mean);
        let residual = n * mean - found.sum;
        let plain = guess.reach * found.n_free.max(1.0);
        let mut slope = plain;
        if let Some((offset, before)) = *last
            && (guess.offset - offset).abs() > 1e-300
        {
            let secant = -(residual - before) / (guess.offset - offset);
            slope = if secant > plain { secant.min(STEEPEST * plain) } else { plain };
        }
        *last = Some((guess.offset, residual));
        guess.offset += residual / slope;
        let room = ball.radius * ball.radius - found.clamped_square;
        guess.reach =
            if room > 0.0 && found.free_square > 0.0 { (room / found.free_square).sqrt() } else { 0.7 * guess.reach };
        (guess.mean, guess.ball) = (mean, ball);
    }
}

/// A bound over a family of balls with the rounding of its moments and of the reference inside, wherever the real minimiser lies.
fn lowered(slices: &Slices, least: &Least, rounding: f64) -> f64 {
    least.value - rounding * (2.0 + slices.largest_quotient()) * 2.0
}

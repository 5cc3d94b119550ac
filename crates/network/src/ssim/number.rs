use std::ops::{Add, Div, Mul, Sub};

/// An arithmetic in which a similarity is evaluated.
pub(super) trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Exactly this float.
    fn exact(value: f64) -> Self;
    /// A real number to which this float is the nearest.
    fn near(value: f64) -> Self;
    /// The square, which is never negative.
    fn square(self) -> Self;
}

impl Number for f64 {
    fn exact(value: f64) -> Self {
        value
    }

    fn near(value: f64) -> Self {
        value
    }

    fn square(self) -> Self {
        self * self
    }
}

/// The sum of so many terms, added pairwise.
pub(super) fn sum<T: Number>(n: usize, term: &impl Fn(usize) -> T) -> T {
    between(0, n, term)
}

fn between<T: Number>(start: usize, end: usize, term: &impl Fn(usize) -> T) -> T {
    /// Terms that are added one by one: recursion would cost more than it gains.
    const RUN: usize = 8;
    if end - start <= RUN {
        return (start..end).fold(T::exact(0.0), |sum, i| sum + term(i));
    }
    let middle = start.midpoint(end);
    between(start, middle, term) + between(middle, end, term)
}

//! What rounding may cost, and the one rule by which all of it is paid.
//!
//! The checker computes in f64, rounded to nearest, and changes no rounding mode. A bound is a sum of three parts:
//!
//! ```text
//! lower = sum − 2 (γ_n · magnitude + slack)
//! ```
//!
//! `sum` adds `n` products in some order and `magnitude` adds their absolute values, so that the real sum is at least
//! `sum − γ_n · magnitude` (Higham, *Accuracy and Stability*, section 3.1: for every order of summation). `slack` adds what rounded
//! *coefficients* may cost; each place that adds to it says why. All of these are sums of non-negative products; however long, they
//! are themselves too small by far less than half of themselves, and the factor 2 pays for that once and for all.
//! What underflow loses, at most 2⁻¹⁰⁷⁴ per product, is paid by [`TINY`] wherever products are summed.

/// The unit roundoff of f64.
pub const UNIT: f64 = f64::EPSILON / 2.0;

/// More than what underflow loses in as many products as fit any memory: `2⁻¹⁰⁷⁴ · 2⁶⁰ < 1e-300`.
pub const TINY: f64 = 1e-300;

/// `γ_n = n u / (1 − n u)`, for fewer than 2⁴⁰ operations; its own rounding is paid by the factor 2.
pub fn gamma(n: usize) -> f64 {
    let nu = n as f64 * UNIT;
    nu / (1.0 - nu)
}

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside foreign code.
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder that others wrote over bytes of unknown origin: if it panics, the result is what it said, and nothing is printed.
///
/// What it was working on is dropped with it.
///
/// # Errors
/// With the panic's message.
pub fn contained<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if !IS_CONTAINED.get() {
                loud(information);
            }
        }));
    });
    let before = IS_CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    IS_CONTAINED.set(before);
    result.map_err(|payload| {
        let said = payload.downcast_ref::<String>().map(String::as_str);
        said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn panics_become_errors() {
        assert_eq!(contained(|| 3), Ok(3));
        let three = std::hint::black_box(3);
        assert_eq!(contained(|| panic!("only {three}")), Err::<(), _>("only 3".into()));
        let nested = contained(|| (contained(|| panic!("inside")), 4));
        assert_eq!(nested, Ok((Err::<(), _>("inside".into()), 4)));
    }
}

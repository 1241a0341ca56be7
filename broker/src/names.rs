//! Names that the broker makes up: queues and consumer tags that clients leave to it.
//!
//! 128 random bits from the system make them impossible to guess, which reply queues rely on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `prefix` and 22 characters of URL-safe base64 (QUEUE-05, CONS-01).
pub(crate) fn generated(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(secret()))
}

/// 128 bits that nobody can guess.
pub(crate) fn secret() -> [u8; 16] {
    let mut random = [0; 16];
    // The system's generator only fails on systems without one, where no secret could be kept.
    if let Err(error) = getrandom::fill(&mut random) {
        panic!("the system has no random numbers: {error}");
    }
    random
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_05_names_are_22_characters_and_never_the_same() {
        let (one, other) = (generated("amq.gen-"), generated("amq.gen-"));
        assert_eq!(one.len(), "amq.gen-".len() + 22);
        assert_ne!(one, other);
    }
}

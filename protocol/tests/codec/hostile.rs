//! No input makes a parser panic: random bytes, and valid ones with a few octets changed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::methods::any_payload;
use crate::model::table_bytes;
use crate::targets;

fn changed(mut bytes: Vec<u8>, changes: &[(Index, u8)]) -> Vec<u8> {
    for (at, octet) in changes {
        bytes.push(*octet);
        let at = at.index(bytes.len());
        bytes.swap_remove(at);
    }
    bytes
}

fn any_changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), any::<u8>()), 1..4)
}

/// The payload in a frame behind the two octets that [`targets::framer`] reads first.
fn framed(payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u32).to_be_bytes();
    [&[255, 1, 1, 0, 1], &size[..], payload, &[0xCE]].concat()
}

fn every_target(bytes: &[u8]) {
    targets::framer(bytes);
    targets::method(bytes);
    targets::table(bytes);
    targets::properties(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        every_target(&bytes);
    }

    #[test]
    fn changed_methods_do_no_harm(payload in any_payload(), changes in any_changes()) {
        let payload = changed(payload, &changes);
        targets::method(&payload);
        targets::framer(&changed(framed(&payload), &changes));
    }

    #[test]
    fn changed_tables_do_no_harm(entries in table_bytes(), changes in any_changes()) {
        targets::table(&changed(entries.clone(), &changes));
        let size = (entries.len() as u32).to_be_bytes();
        let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0], &size[..], &entries].concat();
        targets::properties(&changed(header, &changes));
    }
}

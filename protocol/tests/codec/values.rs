//! Tables, arrays and values there and back.

use leveret_protocol::Table;
use proptest::prelude::*;

use crate::model::{build_table, canonical, encode_table, entries, is_table};
use crate::targets;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Read: every value is what its bytes say, whichever of the equal forms they choose.
    #[test]
    fn a_table_reads_as_what_it_holds(entries in entries()) {
        let bytes = encode_table(&entries);
        let table = Table::parse(&bytes).unwrap();
        prop_assert!(is_table(&entries, table), "{table:?}");
        prop_assert_eq!(table.as_bytes(), &bytes);
        targets::table(&bytes);
    }

    /// Written: one form for each value, and reading it again yields the same.
    #[test]
    fn a_table_that_was_built_is_canonical(entries in entries()) {
        let built = build_table(&entries);
        let bytes = encode_table(&canonical(&entries));
        prop_assert_eq!(built.view().as_bytes(), &bytes);
        prop_assert!(is_table(&entries, Table::parse(&bytes).unwrap()));
    }

    /// No byte of a table can be missing.
    #[test]
    fn a_table_cut_short_is_refused_or_is_fewer_whole_entries(entries in entries()) {
        let bytes = encode_table(&entries);
        for len in 0..bytes.len() {
            if let Ok(shorter) = Table::parse(&bytes[..len]) {
                let count = shorter.entries().count();
                prop_assert!(count < entries.len());
                prop_assert!(is_table(&entries[..count].to_vec(), shorter));
            }
        }
    }

    #[test]
    fn sorting_is_stable_and_loses_nothing(entries in entries()) {
        let mut sorted = canonical(&entries);
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let built = build_table(&entries).sorted();
        prop_assert_eq!(built.view().as_bytes(), &encode_table(&sorted));
    }
}

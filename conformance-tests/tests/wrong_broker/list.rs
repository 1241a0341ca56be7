//! `MUTATIONS.md`, and what has to be true of the table that it is made from.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use leveret_conformance::registered;
use libtest_mimic::{Failed, Trial};

use crate::mutation;

/// Set to write the list anew.
const UPDATE_VARIABLE: &str = "UPDATE_MUTATIONS";

const HEAD: &str = "\
# Wrong brokers, and who notices

Each row is a broker that is wrong in one way: a proxy in front of a Leveret that does to its frames what the
row says, or an operator who does nothing. The named test fails against it, and passes when the proxy changes
nothing. `cargo test -p leveret-conformance --test wrong_broker` shows both; with `UPDATE_MUTATIONS=1` it writes
this list.

| rule | test | what the broker does wrong |
|---|---|---|
";

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("every section has a mutation", every_section_has_one),
        Trial::test("every mutation names a test", every_one_names_a_test),
        Trial::test("the list is current", list_is_current),
    ]
}

fn every_section_has_one() -> Result<(), Failed> {
    let section = |id: &str| id.split('-').next().unwrap_or_default().to_owned();
    let broken: BTreeSet<_> = mutation::all().map(|one| section(one.id)).collect();
    let sections: BTreeSet<_> = registered().map(|rule| section(rule.id)).collect();
    let missing: Vec<_> = sections.difference(&broken).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("no mutation for {missing:?}").into()),
    }
}

fn every_one_names_a_test() -> Result<(), Failed> {
    let names: BTreeSet<_> = registered().map(leveret_conformance::Rule::name).collect();
    let unknown = mutation::all().map(mutation::Mutation::test_name);
    let unknown: Vec<_> = unknown.filter(|name| !names.contains(name)).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(format!("no such tests: {unknown:?}").into()),
    }
}

fn list_is_current() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("MUTATIONS.md");
    let list = list();
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        std::fs::write(&path, list)?;
        return Ok(());
    }
    match std::fs::read_to_string(&path)? == list {
        true => Ok(()),
        false => Err(format!("MUTATIONS.md is not what {UPDATE_VARIABLE}=1 writes").into()),
    }
}

fn list() -> String {
    let order: Vec<_> = registered().map(leveret_conformance::Rule::name).collect();
    let place = |one: &&mutation::Mutation| {
        let name = one.test_name();
        order.iter().position(|known| *known == name)
    };
    let mut mutations: Vec<_> = mutation::all().collect();
    mutations.sort_by_key(place);
    let mut text = HEAD.to_owned();
    for mutation in mutations {
        let (id, test, wrong) = (mutation.id, mutation.test, mutation.wrong);
        let _ = writeln!(text, "| {id} | {test} | {wrong} |");
    }
    text
}

//! What `Cargo.lock` says: which packages of which versions, and what they are made of.
//!
//! What it is not: a resolver. Features are not looked at, so a package may be listed that is not built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

/// A version as it is compared: numbers from the left, and nothing of what follows a hyphen or a plus.
pub(crate) type Version = Vec<u64>;

/// Names with all the versions that there are of each.
pub(crate) type Packages = BTreeMap<String, BTreeSet<Version>>;

/// Every package that the workspace is built or tested with.
pub(crate) fn packages() -> Packages {
    let mut packages = Packages::new();
    for (name, version, _) in entries() {
        packages.entry(name).or_default().insert(numbers(&version));
    }
    packages
}

/// The packages below this one, itself among them. What it is tested with stands there too, as the file
/// does not tell the two apart; those that are for tests alone are left out by name.
pub(crate) fn packages_of(root: &str) -> Packages {
    let entries = entries();
    let mut packages = Packages::new();
    let mut open = vec![root.to_owned()];
    while let Some(name) = open.pop() {
        if packages.contains_key(&name) || is_for_tests(&name) {
            continue;
        }
        for (of, version, dependencies) in entries.iter().filter(|(of, ..)| *of == name) {
            packages
                .entry(of.clone())
                .or_default()
                .insert(numbers(version));
            // A dependency is a name, and a version behind it where there are several.
            let names = dependencies.iter().filter_map(|one| one.split(' ').next());
            open.extend(names.map(str::to_owned));
        }
    }
    packages
}

/// The development dependencies in `broker/Cargo.toml` and `storage/Cargo.toml`.
fn is_for_tests(name: &str) -> bool {
    manifests().any(|manifest| {
        let of = |section: &str| manifest.get(section).and_then(Value::as_table);
        let has = |section| of(section).is_some_and(|table: &Table| table.contains_key(name));
        has("dev-dependencies") && !has("dependencies")
    })
}

fn manifests() -> impl Iterator<Item = Table> {
    let folders = ["protocol", "storage", "broker"];
    folders
        .map(|folder| read(&format!("{folder}/Cargo.toml")))
        .into_iter()
}

fn entries() -> Vec<(String, String, Vec<String>)> {
    let lock = read("Cargo.lock");
    let packages = lock["package"].as_array().unwrap().iter();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let listed = |package: &Value| {
        let names = package.get("dependencies").and_then(Value::as_array);
        let names = names.into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let entry = |package| {
        (
            text(package, "name"),
            text(package, "version"),
            listed(package),
        )
    };
    packages.map(entry).collect()
}

fn read(path: &str) -> Table {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path))
        .unwrap()
        .parse()
        .unwrap()
}

pub(crate) fn numbers(version: &str) -> Version {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let numbers = release.split('.').map(|number| number.parse().unwrap());
    numbers.collect()
}

//! Looking for canaries.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

const WORD: &str = "CANARY";

/// Every form in which a canary would be one.
fn forms() -> Vec<String> {
    let bytes = WORD.as_bytes();
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = list(bytes);
    let mut forms = vec![WORD.to_owned(), numbers.replace(' ', ""), numbers];
    forms.extend([hexadecimal.to_uppercase(), hexadecimal]);
    // Base64 depends on how many bytes are in front; what the neighbours have a share in is left out.
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![0; before], bytes].concat());
        let (first, last) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
        forms.push(text[first..last].to_owned());
    }
    forms
}

/// Fails if there is a canary in it.
#[track_caller]
pub fn assert_none(place: &str, text: &[u8]) {
    for form in forms() {
        let at = text
            .windows(form.len())
            .position(|one| one == form.as_bytes());
        if let Some(at) = at {
            let around = &text[at.saturating_sub(200)..text.len().min(at + 100)];
            panic!(
                "{place} has {form:?}: …{}…",
                String::from_utf8_lossy(around)
            );
        }
    }
}

/// Fails if there is a canary in a file of this directory, however deep.
#[track_caller]
pub fn assert_none_in_files(directory: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_none_in_files(&path);
        } else {
            assert_none(&path.display().to_string(), &fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}

#[test]
fn every_form_of_a_canary_is_found() {
    let found = |text: &str| {
        let text = text.as_bytes().to_vec();
        std::panic::catch_unwind(move || assert_none("a test", &text)).is_err()
    };
    assert!(!found("a log without any, canary, CANARI, [67, 65]"));
    assert!(found("password CANARY-1"));
    assert!(found(&format!("{:?}", b"\0ada\0CANARY-1")));
    assert!(found("all octets = <<0,10,67,65,78,65,82,89,45>>"));
    assert!(found("0043414e415259002d"));
    for before in ["", "\0", "\0a", "\0ada\0"] {
        let text = format!("{before}CANARY-1");
        assert!(found(&STANDARD_NO_PAD.encode(&text)), "{text:?}");
    }
}

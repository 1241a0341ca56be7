//! Names as RabbitMQ 3.10.8 takes them from the same certificates (IP addresses apart, which it takes as
//! raw bytes).

#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair, SanType as San};

use super::*;

const ORGANIZATION: DnType = DnType::OrganizationName;
const COMMON: DnType = DnType::CommonName;

fn certificate(parts: Vec<(DnType, DnValue)>, names: Vec<San>) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind, value);
    }
    params.subject_alt_names = names;
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

fn with_subject(parts: &[(DnType, &str)]) -> CertificateDer<'static> {
    let parts = parts.iter();
    let parts = parts.map(|(kind, value)| (kind.clone(), DnValue::Utf8String((*value).to_owned())));
    certificate(parts.collect(), Vec::new())
}

fn name(certificate: &CertificateDer<'_>, from: CertLoginFrom) -> CertificateName {
    let config = TlsConfig {
        cert_login_from: from,
        ..TlsConfig::default()
    };
    name_in(certificate, &config)
}

fn is(name: &str) -> CertificateName {
    CertificateName::Is(name.to_owned())
}

#[test]
fn a_distinguished_name_has_its_most_specific_part_first() {
    let shown = with_subject(&[
        (DnType::CountryName, "DE"),
        (ORGANIZATION, "Example, Inc."),
        (COMMON, "a=b+c"),
        (
            DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            "a@b.c",
        ),
        (DnType::CustomDnType(vec![1, 2, 3]), "x"),
    ]);
    let expected = r"1.2.3=x,EMAILADDRESS=a@b.c,CN=a=b\+c,O=Example\, Inc.,C=DE";
    assert_eq!(name(&shown, CertLoginFrom::DistinguishedName), is(expected));
}

#[test]
fn no_value_reads_like_another_part() {
    let cases = [
        ("plain name", "plain name"),
        ("a,O=b", r"a\,O=b"),
        (" # ", r"\ #\ "),
        (" ", r"\ "),
        ("#ü ~x ", r"\#\C3\BC \7Ex\ "),
        (" x\"y\\z", r#"\ x\"y\\z"#),
        ("a\0b\n", r"a\00b\0A"),
        ("", ""),
    ];
    for (value, expected) in cases {
        assert_eq!(escaped(value), expected);
    }
}

#[test]
fn a_part_that_is_no_text_leaves_no_name() {
    let wide = DnValue::BmpString("o".try_into().unwrap());
    let plain = DnValue::Utf8String("client".to_owned());
    let shown = certificate(vec![(ORGANIZATION, wide), (COMMON, plain)], Vec::new());
    assert_eq!(
        name(&shown, CertLoginFrom::DistinguishedName),
        CertificateName::Missing
    );
    assert_eq!(name(&shown, CertLoginFrom::CommonName), is("client"));
}

#[test]
fn a_subject_without_names_is_nobody() {
    let shown = with_subject(&[]);
    for from in [
        CertLoginFrom::DistinguishedName,
        CertLoginFrom::CommonName,
        CertLoginFrom::SubjectAlternativeName,
    ] {
        assert_eq!(name(&shown, from), CertificateName::Missing);
    }
    let garbage = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
    assert_eq!(
        name(&garbage, CertLoginFrom::CommonName),
        CertificateName::Missing
    );
}

/// Attack number 14 of multi-valued names: `CN=a+OU=b` in one level, which rcgen cannot write.
#[test]
fn several_parts_of_one_level_are_told_from_several_levels() {
    let shown = CertificateDer::from(MULTI_VALUED.to_vec());
    assert_eq!(
        name(&shown, CertLoginFrom::DistinguishedName),
        is("CN=a+OU=b,O=x")
    );
    let levels = [
        (ORGANIZATION, "x"),
        (DnType::OrganizationalUnitName, "b"),
        (COMMON, "a"),
    ];
    assert_eq!(
        name(&with_subject(&levels), CertLoginFrom::DistinguishedName),
        is("CN=a,OU=b,O=x")
    );
}

/// Made with `openssl req -x509 -subj '/O=x/CN=a+OU=b'`.
const MULTI_VALUED: &[u8] = include_bytes!("multi-valued.der");

#[test]
fn several_common_names_are_one_name() {
    let shown = CertificateDer::from(TWO_COMMON_NAMES.to_vec());
    assert_eq!(name(&shown, CertLoginFrom::CommonName), is("one,two"));
}

/// Made with `openssl req -x509 -subj '/DC=org/DC=example/UID=u1/CN=one/CN=two/serialNumber=7'`.
const TWO_COMMON_NAMES: &[u8] = include_bytes!("two-common-names.der");

#[test]
fn an_alternative_name_is_taken_by_kind_and_index() {
    let names = vec![
        San::DnsName("*.example.org".try_into().unwrap()),
        San::DnsName("b.example.org".try_into().unwrap()),
        San::Rfc822Name("x@y".try_into().unwrap()),
        San::URI("spiffe://x/y".try_into().unwrap()),
        San::IpAddress([192, 0, 2, 1].into()),
        San::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let shown = certificate(Vec::new(), names);
    let cases = [
        // A wildcard is a name like any other, and stands for nobody else.
        (SanType::Dns, 0, Some("*.example.org")),
        (SanType::Dns, 1, Some("b.example.org")),
        (SanType::Dns, 2, None),
        (SanType::Dns, u32::MAX, None),
        (SanType::Email, 0, Some("x@y")),
        (SanType::Uri, 0, Some("spiffe://x/y")),
        (SanType::Ip, 0, Some("192.0.2.1")),
        (SanType::Ip, 1, Some("2001:db8::1")),
    ];
    for (kind, index, expected) in cases {
        let config = TlsConfig {
            cert_login_from: CertLoginFrom::SubjectAlternativeName,
            cert_login_san_type: kind,
            cert_login_san_index: index,
            ..TlsConfig::default()
        };
        let expected = expected.map_or(CertificateName::Missing, is);
        assert_eq!(name_in(&shown, &config), expected, "{kind:?} {index}");
    }
}

#[test]
fn an_extension_that_is_broken_has_no_name() {
    let mut params = CertificateParams::default();
    let broken = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x84, 0xFF, 0xFF]);
    params.custom_extensions.push(broken);
    let key = KeyPair::generate().unwrap();
    let shown = params.self_signed(&key).unwrap().der().clone();
    assert_eq!(
        name(&shown, CertLoginFrom::SubjectAlternativeName),
        CertificateName::Missing
    );
}

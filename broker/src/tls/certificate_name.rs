//! The name that a client's certificate gives it, for EXTERNAL logins.
//!
//! What it is not: a check of the certificate. Only what a handshake has found good comes here.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::config::{CertLoginFrom, SanType, TlsConfig};
use crate::net::peer::CertificateName;

/// What the configuration takes for the name.
pub(super) fn name_in(certificate: &CertificateDer<'_>, config: &TlsConfig) -> CertificateName {
    let parsed = X509Certificate::from_der(certificate).ok();
    let found = parsed.and_then(|(_, certificate)| match config.cert_login_from {
        CertLoginFrom::DistinguishedName => Some(distinguished_name(certificate.subject())),
        CertLoginFrom::CommonName => common_name(certificate.subject()),
        CertLoginFrom::SubjectAlternativeName => alternative_name(&certificate, config),
    });
    let found = found.filter(|name| !name.is_empty());
    found.map_or(CertificateName::Missing, CertificateName::Is)
}

/// As RFC 4514 writes it, the most specific part first, like RabbitMQ: `CN=client,O=Example`.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name.iter_attributes().filter_map(attribute).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> Option<String> {
    let value = escaped(attribute.as_str().ok()?);
    let kind = attribute.attr_type().to_id_string();
    let kind = SHORT_NAMES
        .iter()
        .find(|(oid, _)| *oid == kind)
        .map_or(kind.as_str(), |(_, short)| *short);
    Some(format!("{kind}={value}"))
}

/// RFC 4514, section 3, and the one for mail addresses that everybody has.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// RFC 4514, section 2.4: without this, one name could be made to read like another.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::new();
    for (index, character) in value.chars().enumerate() {
        let at_an_end = index == 0 || index == last;
        let is_special = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => true,
            ' ' => at_an_end,
            '#' => index == 0,
            _ => false,
        };
        if is_special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let first = name.iter_common_name().next()?;
    first.as_str().ok().map(str::to_owned)
}

fn alternative_name(certificate: &X509Certificate<'_>, config: &TlsConfig) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??.value;
    let of_kind = names.general_names.iter();
    let mut of_kind = of_kind.filter_map(|name| text_of(name, config.cert_login_san_type));
    of_kind.nth(config.cert_login_san_index as usize)
}

fn text_of(name: &GeneralName<'_>, kind: SanType) -> Option<String> {
    match (kind, name) {
        (SanType::Dns, GeneralName::DNSName(name))
        | (SanType::Email, GeneralName::RFC822Name(name))
        | (SanType::Uri, GeneralName::URI(name)) => Some((*name).to_owned()),
        (SanType::Ip, GeneralName::IPAddress(bytes)) => address(bytes),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from).ok();
    let address = four.or_else(|| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from).ok());
    Some(address?.to_string())
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_value_reads_like_another_part() {
        assert_eq!(escaped("plain name"), "plain name");
        assert_eq!(escaped("a,O=b"), "a\\,O\\=b");
        assert_eq!(escaped(" # "), "\\ #\\ ");
        assert_eq!(escaped("#1"), "\\#1");
    }
}

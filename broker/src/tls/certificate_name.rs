//! The name that a client's certificate gives it, for EXTERNAL logins.
//!
//! What it is not: a check of the certificate. Only what a handshake has found good comes here.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

use crate::config::{CertLoginFrom, SanType, TlsConfig};
use crate::net::peer::CertificateName;

/// What the configuration takes for the name.
pub(super) fn name_in(certificate: &CertificateDer<'_>, config: &TlsConfig) -> CertificateName {
    let parsed = X509Certificate::from_der(certificate).ok();
    let found = parsed.and_then(|(_, certificate)| match config.cert_login_from {
        CertLoginFrom::DistinguishedName => distinguished_name(certificate.subject()),
        CertLoginFrom::CommonName => common_name(certificate.subject()),
        CertLoginFrom::SubjectAlternativeName => alternative_name(&certificate, config),
    });
    let found = found.filter(|name| !name.is_empty());
    found.map_or(CertificateName::Missing, CertificateName::Is)
}

/// As RFC 4514 writes it, the most specific part first, in RabbitMQ's spelling: `CN=client,O=Example`.
/// Parts of one level are joined by `+`, so that no other order of levels reads the same. A part that is
/// no text leaves no name at all: without it, the name could be somebody else's.
fn distinguished_name(name: &X509Name<'_>) -> Option<String> {
    let levels = name.iter().map(|level| {
        let parts = level.iter().map(attribute);
        Some(parts.collect::<Option<Vec<_>>>()?.join("+"))
    });
    let mut levels = levels.collect::<Option<Vec<_>>>()?;
    levels.reverse();
    Some(levels.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = escaped(attribute.as_str().ok()?);
    let kind = attribute.attr_type().to_id_string();
    let mut known = SHORT_NAMES.iter();
    let kind = known
        .find(|(oid, _)| *oid == kind)
        .map_or(kind.as_str(), |(_, short)| *short);
    Some(format!("{kind}={value}"))
}

/// RFC 4514, section 3, and what RabbitMQ knows beside it.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "TITLE"),
    ("2.5.4.42", "GIVENNAME"),
    ("2.5.4.43", "INITIALS"),
    ("2.5.4.44", "GENERATIONQUALIFIER"),
    ("2.5.4.65", "PSEUDONYM"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// RFC 4514, section 2.4: without this, one name could be made to read like another. As in RabbitMQ,
/// whatever is not printable ASCII is written by its bytes.
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::new();
    for (index, byte) in value.bytes().enumerate() {
        let is_special = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b' ' => index == 0 || index == last,
            b'#' => index == 0,
            _ => false,
        };
        match byte {
            _ if is_special => text.extend(['\\', char::from(byte)]),
            0x20..=0x7D => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

/// Several common names are joined by commas, as RabbitMQ does: to take one of them would let whoever
/// has the others log in as that one.
fn common_name(name: &X509Name<'_>) -> Option<String> {
    let names = name.iter_common_name().map(|name| name.as_str().ok());
    Some(names.collect::<Option<Vec<_>>>()?.join(","))
}

fn alternative_name(certificate: &X509Certificate<'_>, config: &TlsConfig) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??.value;
    let of_kind = names.general_names.iter();
    let mut of_kind = of_kind.filter_map(|name| text_of(name, config.cert_login_san_type));
    of_kind.nth(usize::try_from(config.cert_login_san_index).ok()?)
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
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let address = four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok());
    Some(address?.to_string())
}

#[cfg(test)]
mod tests;

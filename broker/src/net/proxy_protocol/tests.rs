//! Headers of both versions, whole, in parts and broken (attack number 16).

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn client(address: &str) -> Origin {
    Origin::Client(address.parse().unwrap())
}

/// Reads as a listener does: never more than is wanted. Returns how much of the bytes was read.
fn read(bytes: &[u8], pieces: impl Fn(usize) -> usize) -> Result<(Origin, usize), ProxyError> {
    let mut read = 0;
    loop {
        match progress(&bytes[..read])? {
            Progress::Complete { origin, bytes } => {
                assert_eq!(bytes, read, "nothing of the client's was read");
                return Ok((origin, bytes));
            }
            Progress::Wants(wanted) => {
                assert!(wanted > 0);
                let piece = pieces(wanted).clamp(1, wanted);
                if read + piece > bytes.len() {
                    return Ok((Origin::Unknown, usize::MAX));
                }
                read += piece;
            }
        }
    }
}

fn whole(bytes: &[u8]) -> Result<Origin, ProxyError> {
    let (origin, used) = read(bytes, |wanted| wanted)?;
    assert_eq!(used, bytes.len(), "of {bytes:?}");
    Ok(origin)
}

/// A header of version 2.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    let fixed = [command, family, length[0], length[1]];
    [super::binary::SIGNATURE, &fixed, block].concat()
}

const IPV4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 9, 0x9C, 0x40, 0x16, 0x28];
/// A no-op of one byte, and an empty one.
const EXTENSIONS: &[u8] = &[0x04, 0, 1, 7, 0xEA, 0, 0];

fn ipv6() -> Vec<u8> {
    let source = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap();
    [&source.octets()[..], &[0; 16], &[0x9C, 0x40, 0, 0]].concat()
}

#[test]
fn lines_are_read() {
    let cases: [(&[u8], Origin); 6] = [
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.9 40000 5672\r\n",
            client("192.0.2.1:40000"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n",
            client("[2001:db8::1]:0"),
        ),
        (b"PROXY UNKNOWN\r\n", Origin::Unknown),
        (
            b"PROXY UNKNOWN ffff::1 whatever else 1 2\r\n",
            Origin::Unknown,
        ),
        // The longest of either kind.
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            client("255.255.255.255:65535"),
        ),
        (
            b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
              ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Origin::Unknown,
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(whole(line), Ok(expected));
    }
    assert_eq!(cases[5].0.len(), 107);
}

#[test]
fn broken_lines_are_refused() {
    let cases: [&[u8]; 18] = [
        b"PROXY  TCP4 192.0.2.1 192.0.2.9 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 01 2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.9 1 2\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.9 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.9 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.9 1 2\r\n",
        b"PROXY unknown\r\n",
        b"PROXY TCP4 192.0.2.1\n192.0.2.9 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\r192.0.2.9 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 \xFF\r\n",
        b"PROXY \r\nTCP4 192.0.2.1 192.0.2.9 1 2\r\n",
    ];
    for line in cases {
        assert_eq!(whole(line), Err(ProxyError::BrokenLine), "{line:?}");
    }
}

#[test]
fn a_line_that_does_not_end_is_refused_after_107_bytes() {
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(whole(&endless), Err(ProxyError::EndlessLine));
    assert_eq!(progress(&endless), Err(ProxyError::EndlessLine));
    assert_eq!(progress(&endless[..105]), Ok(Progress::Wants(2)));
    assert_eq!(progress(&endless[..106]), Err(ProxyError::EndlessLine));
    let late = [&endless[..106], b"\r\n"].concat();
    assert_eq!(progress(&late), Err(ProxyError::EndlessLine));
}

/// A byte that does not belong in a line, close to its longest length: found by fuzzing.
#[test]
fn a_line_is_refused_alike_in_whatever_pieces_it_comes() {
    for at in 95..110 {
        for end in [b"\r\x07", b"x\x07", b"\x07x", b"\r\r"] {
            let text = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 120]].concat();
            let line = [&text[..at], end, b"\r\n".as_slice(), &text].concat();
            let at_once = read(&line, |wanted| wanted).unwrap_err();
            for piece in 1..4 {
                let by_parts = read(&line, |_| piece).unwrap_err();
                assert_eq!(by_parts, at_once, "{end:?} at {at} in pieces of {piece}");
            }
        }
    }
}

#[test]
fn binary_headers_are_read() {
    let of_client = client("192.0.2.1:40000");
    let cases = [
        (binary(0x21, 0x11, IPV4), of_client),
        (binary(0x21, 0x11, &[IPV4, EXTENSIONS].concat()), of_client),
        (binary(0x21, 0x21, &ipv6()), client("[2001:db8::1]:40000")),
        (binary(0x21, 0x31, &[b'/'; 216]), Origin::Unknown),
        (binary(0x21, 0x00, &[]), Origin::Unknown),
        (binary(0x21, 0x00, &[1, 2, 3]), Origin::Unknown),
        (binary(0x20, 0x00, &[]), Origin::Proxy),
        (binary(0x20, 0x11, IPV4), Origin::Proxy),
        (binary(0x20, 0xFF, &[1, 2, 3]), Origin::Proxy),
    ];
    for (header, expected) in cases {
        assert_eq!(whole(&header), Ok(expected), "{header:?}");
    }
    let longest = vec![0; PROXY_HEADER_BYTES_MAX - 16];
    assert_eq!(whole(&binary(0x20, 0, &longest)), Ok(Origin::Proxy));
}

#[test]
fn broken_binary_headers_are_refused() {
    let cases = [
        (binary(0x11, 0x11, IPV4), ProxyError::Command(0x11)),
        (binary(0x22, 0x11, IPV4), ProxyError::Command(0x22)),
        (binary(0x31, 0x11, IPV4), ProxyError::Command(0x31)),
        (binary(0x21, 0x12, IPV4), ProxyError::Family(0x12)),
        (binary(0x21, 0x10, IPV4), ProxyError::Family(0x10)),
        (binary(0x21, 0x41, IPV4), ProxyError::Family(0x41)),
        (binary(0x21, 0x11, &IPV4[..11]), ProxyError::TooShort(11)),
        (binary(0x21, 0x11, &[]), ProxyError::TooShort(0)),
        (binary(0x21, 0x21, IPV4), ProxyError::TooShort(12)),
        (binary(0x21, 0x31, &[0; 215]), ProxyError::TooShort(215)),
    ];
    for (header, expected) in cases {
        assert_eq!(whole(&header), Err(expected), "{header:?}");
    }
}

#[test]
fn a_length_of_65535_is_refused_before_anything_of_it_has_come() {
    let mut header = binary(0x21, 0x11, &[]);
    header[14..].copy_from_slice(&[0xFF, 0xFF]);
    assert_eq!(progress(&header), Err(ProxyError::TooLong(65_535)));
}

#[test]
fn extensions_do_not_overrun_the_header() {
    for broken in [
        &[4][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 0xFF, 0xFF, 1],
        &[4, 0, 0, 5],
    ] {
        let header = binary(0x21, 0x11, &[IPV4, broken].concat());
        assert_eq!(whole(&header), Err(ProxyError::Overrun), "{broken:?}");
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for other in [
        b"AMQP\0\0\x09\x01".as_slice(),
        b"GET / HTTP/1.1\r\n",
        &[0x16, 3, 1],
        b"PROXZ",
        b"\r\n\r\n\0\r\nQUIX",
        b"proxy unknown\r\n",
    ] {
        let wrong = (1..=other.len()).find(|length| progress(&other[..*length]).is_err());
        let wrong = wrong.unwrap();
        assert_eq!(progress(&other[..wrong]), Err(ProxyError::NoHeader));
        assert!(progress(other).is_err());
    }
    assert!(may_begin_with(b'P') && may_begin_with(b'\r'));
    assert!(!may_begin_with(b'A') && !may_begin_with(0x16));
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let block = prop::collection::vec(any::<u8>(), 0..300);
    let binary = (any::<u8>(), any::<u8>(), block).prop_map(|(command, family, block)| {
        let commands = [0x20, 0x21, 0x21, command];
        let families = [0x00, 0x11, 0x21, 0x31, family];
        let of = |list: &[u8], byte: u8| list[usize::from(byte) % list.len()];
        super::tests::binary(of(&commands, command), of(&families, family), &block)
    });
    let line =
        "PROXY (UNKNOWN|TCP4 192\\.0\\.2\\.[0-9]{1,3} 1\\.2\\.3\\.4 [0-9]{1,5} 1)[ -~]{0,4}\r\n";
    prop_oneof![binary, line.prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn parts_read_like_the_whole(header in header(), piece in 1_usize..40, tail in any::<[u8; 4]>()) {
        let bytes = [header.as_slice(), &tail].concat();
        let whole = progress(&bytes);
        let by_parts = read(&bytes, |_| piece);
        match whole {
            Ok(Progress::Complete { origin, bytes }) => {
                prop_assert_eq!(by_parts, Ok((origin, bytes)));
            }
            Ok(Progress::Wants(_)) => prop_assert_eq!(by_parts.unwrap().1, usize::MAX),
            Err(_) => prop_assert!(by_parts.is_err()),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(Progress::Complete { bytes: used, .. }) = progress(&bytes) {
            prop_assert!(used <= bytes.len());
        }
        let signed = [super::binary::SIGNATURE, &bytes].concat();
        let _ = progress(&signed);
        let line = [super::line::SIGNATURE, &bytes].concat();
        let _ = progress(&line);
    }
}

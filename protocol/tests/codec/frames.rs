//! Frames out of a stream: how the stream was split never shows.

use bytes::BytesMut;
use leveret_protocol::client::Decoder;
use leveret_protocol::encode;
use leveret_protocol::framer::{self, Cut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

type Sent = (u8, u16, Vec<u8>);

const PAYLOAD_MAX: usize = 64;

fn any_frames() -> impl Strategy<Value = Vec<Sent>> {
    vec(
        (any::<u8>(), any::<u16>(), vec(any::<u8>(), 0..=PAYLOAD_MAX)),
        0..12,
    )
}

/// A type octet, a channel, a size and an end octet around the payload.
fn stream(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, channel, payload) in frames {
        bytes.push(*kind);
        bytes.extend(channel.to_be_bytes());
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        bytes.push(0xCE);
    }
    bytes
}

/// The stream in pieces that end at the given places.
fn pieces<'s>(stream: &'s [u8], ends: &[Index]) -> Vec<&'s [u8]> {
    let mut ends: Vec<_> = ends.iter().map(|end| end.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.iter()
        .map(|to| &stream[std::mem::replace(&mut from, *to)..*to])
        .collect()
}

/// What a reader sees: the frames, and the text of how it ends.
fn cut_all(buffer: &mut Vec<u8>) -> (Vec<Sent>, String) {
    let mut frames = Vec::new();
    loop {
        let taken = match framer::cut(buffer, PAYLOAD_MAX) {
            Ok(Cut::Frame(frame)) => {
                frames.push((frame.kind, frame.channel, frame.payload.to_vec()));
                frame.wire_len()
            }
            end => return (frames, format!("{end:?}")),
        };
        buffer.drain(..taken);
    }
}

fn cut_in_pieces(stream: &[u8], ends: &[Index]) -> (Vec<Sent>, String) {
    let mut buffer = Vec::new();
    let (mut frames, mut end) = cut_all(&mut buffer);
    for piece in pieces(stream, ends) {
        buffer.extend(piece);
        let (more, later) = cut_all(&mut buffer);
        frames.extend(more);
        end = later;
    }
    (frames, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn frames_come_out_as_they_went_in(sent in any_frames(), ends in vec(any::<Index>(), 0..30)) {
        let (frames, _) = cut_in_pieces(&stream(&sent), &ends);
        prop_assert_eq!(frames, sent);
    }

    #[test]
    fn the_writer_lays_frames_out_like_the_specification(sent in any_frames()) {
        let mut out = BytesMut::new();
        for (kind, channel, payload) in &sent {
            encode::frame(&mut out, *kind, *channel, |out| out.extend_from_slice(payload));
        }
        prop_assert_eq!(&out[..], &stream(&sent));
    }

    /// Broken streams too: the same frames, then the same end.
    #[test]
    fn no_split_shows_in_any_stream(
        sent in any_frames(),
        spoiled in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        ends in vec(any::<Index>(), 0..30),
    ) {
        let mut bytes = stream(&sent);
        for (at, octet) in spoiled {
            bytes.push(0);
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let whole = cut_all(&mut bytes.clone());
        prop_assert_eq!(cut_in_pieces(&bytes, &ends), whole);
    }

    /// The number of bytes that are wanted is never more than the frame has, and always more than
    /// there are: a reader that waits for it neither hangs nor spins.
    #[test]
    fn wanted_bytes_lead_to_the_frame(payload in vec(any::<u8>(), 0..=PAYLOAD_MAX)) {
        let bytes = stream(&[(3, 1, payload)]);
        for len in 0..bytes.len() {
            let Ok(Cut::Incomplete { wanted }) = framer::cut(&bytes[..len], PAYLOAD_MAX) else {
                panic!("a frame in {len} of {} bytes", bytes.len());
            };
            prop_assert!(len < wanted && wanted <= bytes.len());
        }
    }

    /// Frames of the known types, so that no stream looks like a protocol header.
    #[test]
    fn the_clients_decoder_sees_the_same(
        sent in any_frames(),
        ends in vec(any::<Index>(), 0..30),
    ) {
        let sent: Vec<_> = sent.into_iter().map(|(kind, c, p)| (kind % 9, c, p)).collect();
        let bytes = stream(&sent);
        let mut decoder = Decoder::new(PAYLOAD_MAX);
        let mut seen = Vec::new();
        for piece in pieces(&bytes, &ends) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push((frame.kind, frame.channel, frame.payload.to_vec()));
            }
        }
        prop_assert_eq!(seen, sent);
    }
}

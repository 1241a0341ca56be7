//! Content headers and properties there and back.

use bytes::BytesMut;
use leveret_protocol::framer::{self, Cut};
use leveret_protocol::{ContentHeader, Properties, ShortStr, Table};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::grammar::{long_str, short_str};
use crate::model::table_bytes;

/// The fourteen properties in order, each as its encoded bytes or absent.
fn any_fields() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    let text = || {
        vec(any::<u8>(), 0..40)
            .prop_map(|text| short_str(&text))
            .boxed()
    };
    let bits = |len: usize| vec(any::<u8>(), len).boxed();
    let headers = table_bytes().prop_map(|entries| long_str(&entries)).boxed();
    let fields: Vec<BoxedStrategy<Vec<u8>>> = vec![
        text(),
        text(),
        headers,
        bits(1),
        bits(1),
        text(),
        text(),
        text(),
        text(),
        bits(8),
        text(),
        text(),
        text(),
        text(),
    ];
    fields.into_iter().map(option::of).collect::<Vec<_>>()
}

/// Flag word and fields; the two lowest bits are as given.
fn encode(fields: &[Option<Vec<u8>>], lowest: u16) -> Vec<u8> {
    let mut flags = lowest;
    for (position, field) in fields.iter().enumerate() {
        flags |= u16::from(field.is_some()) << (15 - position);
    }
    let mut bytes = flags.to_be_bytes().to_vec();
    fields
        .iter()
        .flatten()
        .for_each(|field| bytes.extend(field));
    bytes
}

/// The fields as they were read, encoded again, in the specification's order.
fn read_fields(properties: &Properties<'_>) -> Vec<Option<Vec<u8>>> {
    let text = |text: Option<ShortStr<'_>>| text.map(|text| short_str(text.0));
    let octet = |octet: Option<u8>| octet.map(|octet| vec![octet]);
    let table = |table: Table<'_>| long_str(table.as_bytes());
    vec![
        text(properties.content_type),
        text(properties.content_encoding),
        properties.headers.map(table),
        octet(properties.delivery_mode),
        octet(properties.priority),
        text(properties.correlation_id),
        text(properties.reply_to),
        text(properties.expiration),
        text(properties.message_id),
        properties.timestamp.map(|s| s.to_be_bytes().to_vec()),
        text(properties.kind),
        text(properties.user_id),
        text(properties.app_id),
        text(properties.cluster_id),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_properties_are_written_as_they_were_read(fields in any_fields(), lowest in 0..4_u16) {
        let bytes = encode(&fields, lowest);
        let properties = Properties::parse(&bytes).unwrap();
        prop_assert_eq!(&read_fields(&properties), &fields);
        prop_assert_eq!(properties.to_bytes(), encode(&fields, 0));
    }

    #[test]
    fn properties_cut_short_are_refused(fields in any_fields()) {
        let mut bytes = encode(&fields, 0);
        for len in 0..bytes.len() {
            prop_assert!(Properties::parse(&bytes[..len]).is_err());
        }
        bytes.push(0);
        prop_assert!(Properties::parse(&bytes).is_err());
    }

    #[test]
    fn any_content_header_survives_its_frame(
        class_id in any::<u16>(),
        weight in any::<u16>(),
        body_size in any::<u64>(),
        channel in any::<u16>(),
        fields in any_fields(),
    ) {
        let properties = &encode(&fields, 0)[..];
        let header = ContentHeader { class_id, weight, body_size, properties };
        let mut out = BytesMut::new();
        header.write_frame(channel, &mut out);
        let Ok(Cut::Frame(frame)) = framer::cut(&out, out.len()) else {
            panic!("no frame in {out:?}");
        };
        prop_assert_eq!((frame.kind, frame.channel, frame.wire_len()), (2, channel, out.len()));
        prop_assert_eq!(ContentHeader::parse(frame.payload).unwrap(), header);
    }
}

//! What a mutation sees and does: the frames of one connection, both ways.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use leveret_protocol::content::{ContentHeader, FRAME_HEADER, Properties};
use leveret_protocol::method::write_frame;
use leveret_protocol::{Method, Table, TableBuf, encode};

/// Who has sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Broker,
}

/// One frame on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    pub from: From,
    pub kind: u8,
    pub channel: u16,
    pub payload: Bytes,
}

impl Frame {
    /// The method, if it is one.
    pub fn method(&self) -> Option<Method<'_>> {
        match self.kind {
            leveret_protocol::method::FRAME_METHOD => Method::parse(&self.payload).ok(),
            _ => None,
        }
    }
}

/// The connection as a mutation handles it. What is neither passed on nor replaced is lost.
#[derive(Debug, Default)]
pub struct Wire {
    pub to_broker: BytesMut,
    pub to_client: BytesMut,
    /// What the mutation remembers, for instance by channel.
    pub memory: BTreeMap<u64, u64>,
}

impl Wire {
    /// Lets a frame through.
    pub fn pass(&mut self, frame: &Frame) {
        let payload = &frame.payload;
        encode::frame(self.way(frame.from), frame.kind, frame.channel, |out| {
            out.extend_from_slice(payload);
        });
    }

    /// Lets another method through in a frame's place.
    pub fn replace<'m>(&mut self, frame: &Frame, method: impl Into<Method<'m>>) {
        write_frame(method, frame.channel, self.way(frame.from));
    }

    /// Answers whoever has sent a frame, in the other side's place.
    pub fn answer<'m>(&mut self, frame: &Frame, method: impl Into<Method<'m>>) {
        let back = match frame.from {
            From::Client => From::Broker,
            From::Broker => From::Client,
        };
        write_frame(method, frame.channel, self.way(back));
    }

    /// Lets a content header through with other properties.
    pub fn replace_properties(
        &mut self,
        frame: &Frame,
        change: impl FnOnce(Properties<'_>) -> Vec<u8>,
    ) {
        let header = ContentHeader::parse(&frame.payload).ok();
        let parsed =
            header.and_then(|header| Some((header, Properties::parse(header.properties).ok()?)));
        let Some((header, properties)) = parsed else {
            return self.pass(frame);
        };
        let changed = ContentHeader {
            properties: &change(properties),
            ..header
        };
        changed.write_frame(frame.channel, self.way(frame.from));
    }

    /// Lets a content header through with other headers, if it has any.
    pub fn replace_headers(&mut self, frame: &Frame, change: impl FnOnce(Table<'_>) -> TableBuf) {
        self.replace_properties(frame, |properties| {
            let changed = properties.headers.map(change);
            let properties = Properties {
                headers: changed.as_ref().map(TableBuf::view),
                ..properties
            };
            properties.to_bytes()
        });
    }

    fn way(&mut self, from: From) -> &mut BytesMut {
        match from {
            From::Client => &mut self.to_broker,
            From::Broker => &mut self.to_client,
        }
    }
}

/// True for the header of a message that the broker sends.
pub fn is_header_for_client(frame: &Frame) -> bool {
    frame.from == From::Broker && frame.kind == FRAME_HEADER
}

/// A table without one of its keys.
pub fn without(table: Table<'_>, key: &str) -> TableBuf {
    let others = table.entries().filter(|(name, _)| name.0 != key.as_bytes());
    TableBuf::from_raw_entries(others)
}

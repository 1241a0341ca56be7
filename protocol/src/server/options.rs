//! What a server tells its clients, and the limits it holds them to.

use std::time::Duration;

use crate::value::TableBuf;

/// The frame limit until the client has answered `tune` (TUNE-11): enough for every login, and all
/// that a stranger can make the server buffer.
pub const FRAME_MAX_BEFORE_TUNE: usize = 4096;
/// The smallest frame limit that a client may ask for (TUNE-05).
pub const FRAME_MIN_SIZE: u32 = 4096;
/// How many messages of the largest size one connection may be in the middle of sending, over all
/// of its channels; beyond that it is closed with 506. Without a bound, 2,047 channels that each
/// begin a message of 128 MiB could claim 256 GiB. A message counts with its body and its content
/// header, which is at most a frame.
pub const ASSEMBLING_MESSAGES_MAX: u64 = 4;

/// One server's side of the bargain; shared by all of its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Sent with `start` (CONN-01).
    pub server_properties: TableBuf,
    /// Offered login mechanisms, separated by spaces (CONN-03).
    pub mechanisms: String,
    /// The most channels open at once (TUNE-01, TUNE-07); 0 = no limit.
    pub channel_max: u16,
    /// The largest frame (TUNE-01).
    pub frame_max: u32,
    /// The heartbeat interval that is proposed, in seconds (TUNE-01); the client's answer counts.
    pub heartbeat_s: u16,
    /// The largest message body (PUB-03).
    pub message_size_max_bytes: u64,
    /// Bodies up to this size are always handed out borrowed; larger ones as slices of the read buffer if they
    /// are nearly all of it.
    pub borrowed_body_max_bytes: usize,
    /// How long the handshake may take, from accept to `open-ok` (PROTO-07, PROTO-09).
    pub handshake_timeout: Duration,
    /// How long a refused handshake or a broken stream stays open in silence (CONN-08, ERR-09).
    pub refusal_delay: Duration,
    /// The longest wait for the other side's end of a close (CONN-34).
    pub close_timeout: Duration,
}

impl ServerOptions {
    /// The most bytes of incomplete messages on one connection; see [`ASSEMBLING_MESSAGES_MAX`].
    pub(super) fn assembling_bytes_max(&self) -> u64 {
        self.message_size_max_bytes
            .saturating_add(self.frame_max.into())
            .saturating_mul(ASSEMBLING_MESSAGES_MAX)
    }

    /// The largest body that is handed out as it lies in the buffer, from which pieces up to
    /// `copied_piece_max` are copied, without being judged by its size: never more than a message may have
    /// (PUB-03).
    #[inline]
    pub(super) fn whole_body_max_bytes(&self, copied_piece_max: usize) -> u64 {
        let borrowed = self.borrowed_body_max_bytes.max(copied_piece_max);
        (borrowed as u64).min(self.message_size_max_bytes)
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            server_properties: TableBuf::new(),
            mechanisms: "PLAIN AMQPLAIN".to_owned(),
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat_s: 60,
            message_size_max_bytes: 134_217_728,
            borrowed_body_max_bytes: 4096,
            handshake_timeout: Duration::from_secs(10),
            refusal_delay: Duration::from_secs(3),
            close_timeout: Duration::from_secs(30),
        }
    }
}

//! Every limit on the data path, each with its reason.
//!
//! Limits that an operator may want to change are keys of the configuration; these are the ones that
//! only a measurement should change.

use std::time::Duration;

/// The most bytes read in one turn. A read of 64 KiB holds about a thousand small messages, which is
/// enough to make the system call cheap and few enough to keep a turn short.
pub const READ_TURN_BYTES_MAX: usize = 65_536;
/// What a read buffer starts with; it grows when reads fill it. It holds a login and whatever an idle
/// connection says, and is what most of an idle connection's memory would be if it were larger.
pub const READ_BUFFER_BYTES_MIN: usize = 1_024;
/// Buffers larger than this are given back when a connection falls idle.
pub const IDLE_BUFFER_BYTES_MAX: usize = 4_096;
/// Staged messages are handed to their queues at this number: each hand-over takes a queue's lock
/// once, and a longer batch would make consumers wait for it.
pub const STAGE_MESSAGES_MAX: usize = 128;
/// Staged bodies are handed over at this many bytes, for the same reason.
pub const STAGE_BYTES_MAX: usize = 65_536;
/// The most messages taken from a queue at once, so that one consumer holds its lock briefly.
pub const PULL_MESSAGES_MAX: u32 = 256;
/// Deliveries stop at this many unsent bytes; the messages stay in their queue.
pub const OUTBOX_HIGH_BYTES: usize = 262_144;
/// Deliveries resume at this many unsent bytes.
pub const OUTBOX_LOW_BYTES: usize = 65_536;
/// Reading stops at this many unsent bytes, which only a peer that sends requests and never reads
/// answers reaches. It is above the delivery mark, so that a client that publishes while deliveries
/// pile up is still heard.
pub const OUTBOX_READ_STOP_BYTES: usize = 1_048_576;
/// Direct replies that wait for one connection to take them: beyond this many bytes, of bodies and
/// [`MESSAGE_OVERHEAD_BYTES`] each, replies to it are dropped. They are delivered at most once by
/// contract, and who asks and does not read the answers must not fill the memory; this is room for
/// tens of thousands of small replies, more than a client has requests under way.
pub const REPLIES_WAITING_BYTES_MAX: usize = 8_388_608;
/// Turns in a row before the task lets others run.
pub const TURNS_IN_A_ROW_MAX: u32 = 8;
/// A turn that has read this many bytes is the last in a row. Whoever sends without pause would else have
/// eight turns for each one of those who consume what it sends, and the queue between them would grow.
pub const READ_BEFORE_OTHERS_BYTES: usize = 16_384;
/// A turn in which finding the way of messages has taken this long, in milliseconds, handles no more input: others
/// have their turns first. Usual ways are found in microseconds; patterns that are made to be matched
/// slowly take many times that, and a read holds hundreds of messages.
pub const ROUTING_PER_TURN_MS_MAX: u64 = 5;
/// Uncommitted transactions hold at most this many bytes per channel; the next publish closes the
/// connection with 506.
pub const TRANSACTION_BYTES_MAX: usize = 134_217_728;
/// The accept loop waits this long after the system ran out of file descriptors.
pub const ACCEPT_BACKOFF_MS: u64 = 100;
/// Deliveries are held against the consumer timeouts at least this often (DELIV-13): a timeout that has
/// become shorter meanwhile is noticed.
pub const CONSUMER_TIMEOUT_CHECK_MS: u64 = 60_000;
/// Lines of the log in one second about strangers who are turned away before they are connections. Ten show
/// what goes on; a flood of them, told of one by one, would fill a disk.
pub const COMPLAINTS_PER_S_MAX: u32 = 10;
/// Sockets beyond the limit on open connections that may be in their handshake, so that strangers
/// who never log in cannot use up all file descriptors.
pub const HANDSHAKES_MAX: usize = 1_024;
/// Failed logins of one address within the time that a refused login takes before its further ones are put
/// off. Many more than a client that was given a wrong password causes, and few for who guesses: some thirty
/// a second with the default of three seconds.
pub const FAILED_LOGINS_AT_ONCE: u32 = 100;
/// Addresses whose failed logins are remembered; beyond it the one that is forgiven next is forgotten. Who has
/// more addresses than that is not to be stopped by them, and must not fill the memory.
pub const FAILED_ADDRESSES_MAX: usize = 4_096;
/// How long a password that was right is remembered, in seconds: until everybody who was cut off is back.
pub const VERIFIED_LOGINS_S: u64 = 60;
/// How many are remembered, of less than 100 bytes each; the oldest goes first.
pub const VERIFIED_LOGINS_MAX: usize = 4_096;
/// While logins are put off, it is looked this often, in milliseconds, whether anybody still waits for them.
pub const PUT_OFF_LOGINS_CHECK_MS: u64 = 100;
/// Refused logins that are logged at once, and so many more in each second: enough to see what goes on, and
/// not enough to fill a disk. The next line tells how many were left out.
pub const REFUSED_LOGINS_LOGGED: u32 = 10;
/// TLS sessions that clients may resume, each of some hundred bytes: enough for those that reconnect after
/// a failure, and no more than a few hundred kilobytes.
pub const TLS_SESSIONS_MAX: usize = 1_024;
/// What a queued message costs beside its body: its allocation's head, the queue's entry, the
/// allocator's own share.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 128;
/// The part of the memory watermark that durable queues share for messages that are in the store as
/// well, in percent: what cannot leave memory needs the rest.
pub const SHARED_MEMORY_PERCENT: u64 = 40;
/// No durable queue is given a smaller share than this, in bytes: with less it would go to the disk for
/// every few messages.
pub const SHARE_BYTES_MIN: u64 = 65_536;
/// The queues' memory is added up at most this often.
pub const MEMORY_CHECK_MIN_MS: u64 = 100;
/// Far from the watermark it is added up this often, so that looking at idle queues costs less.
pub const MEMORY_CHECK_MAX_MS: u64 = 500;
/// How fast the queues may fill, by which the time between two looks is chosen: more than what a
/// machine's loopback was seen to carry in messages of 1 KiB.
pub const PUBLISHED_BYTES_PER_MS_MAX: u64 = 1_000_000;
/// After so many queues the adding up lets connections have their turns: it is as long as one of these.
pub const QUEUES_PER_LOOK_MAX: usize = 1_024;
/// Adding up may take one part in this many of the time.
pub const MEMORY_CHECK_COST_SHARE: u64 = 50;
/// The list of consumers to pull for may grow to this length before duplicates are looked for.
pub const RUNG_DUPLICATES_MAX: usize = 4_096;
/// A connection that has published this much into the store which is not committed is not read until
/// the store catches up: many times what a disk commits at once, so that only a slow disk is felt.
pub const UNCOMMITTED_BYTES_MAX: usize = 8_388_608;
/// Who expects heartbeats more often than this has no commits made by the thread that serves it: a disk that
/// takes so long is about to be given up by everybody.
pub const COMMIT_HERE_HEARTBEAT_MIN: Duration = Duration::from_secs(30);
/// Above this much that is not committed over all connections, those that publish into the store are
/// not read until their own publishes are, so that thousands of them cannot fill the memory together.
pub const PENDING_BYTES_MAX: u64 = 67_108_864;
/// What an open connection costs: its task, its machine, its buffers while they are empty. Measured: 7 KiB
/// with one channel.
pub const CONNECTION_BYTES: u64 = 8_192;
/// What TLS adds to it: its keys, a buffer for records, the client's certificate. Measured: 9 KiB.
pub const CONNECTION_TLS_BYTES: u64 = 12_288;
/// What a connection holds is brought to account when it has changed by this much.
pub const ACCOUNT_STEP_BYTES: u64 = 4_096;
/// What an open channel costs. Measured: 0.75 KiB.
pub const CHANNEL_BYTES: u64 = 1_024;
/// What a consumer, or what a channel remembers of a queue it gets from, costs beside its tag. Measured:
/// 0.56 KiB.
pub const CONSUMER_BYTES: u64 = 640;
/// What a queue costs beside its name and arguments. Measured: 0.8 KiB.
pub const QUEUE_BYTES: u64 = 1_024;
/// What an exchange costs beside its name and arguments. Measured: 0.56 KiB.
pub const EXCHANGE_BYTES: u64 = 640;
/// What a binding costs beside its key and arguments. Measured on a topic exchange with keys of 14 bytes, where
/// it is most: 0.64 KiB.
pub const BINDING_BYTES: u64 = 640;
/// What each word of a routing key costs beyond [`BINDING_USUAL_WORDS`]: a topic exchange may have a node for it
/// that no other key shares.
pub const BINDING_WORD_BYTES: u64 = 320;
/// So many words are in what every binding costs.
pub const BINDING_USUAL_WORDS: u64 = 3;

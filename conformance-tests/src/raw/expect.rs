//! What may come next, and the failure if something else does.
//!
//! A close that is expected is answered with its close-ok, as a client would; a close that is not
//! expected fails the test and is not answered.

use std::fmt;
use std::time::Duration;

use leveret_protocol::method::{channel, connection};
use leveret_protocol::{Method, MethodId};
use tokio::time::Instant;

use super::socket::{Event, OwnedMethod, RawConnection, RawFrame};
use crate::failure::{Failure, show_bytes};
use crate::profile::Texts;

/// How long a broker may take to drop a connection of which it disapproves: RabbitMQ waits about
/// 3 s, and 10 s for a handshake.
const SILENT_CLOSE_PATIENCE: Duration = Duration::from_secs(15);
/// Frames that are skipped at most while one certain method is awaited.
const SKIPPED_FRAMES_MAX: usize = 100_000;

/// One of the things that may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A method.
    Method {
        /// On this channel.
        channel: u16,
        /// Which.
        id: MethodId,
    },
    /// channel.close, which is answered with close-ok.
    ChannelClose {
        /// On this channel.
        channel: u16,
        /// With this code; `None` for any.
        code: Option<u16>,
        /// With this text.
        text: Text,
        /// Blaming this method; `None` for any.
        culprit: Option<MethodId>,
    },
    /// connection.close, which is answered with close-ok.
    ConnectionClose {
        /// With this code.
        code: u16,
        /// With this text.
        text: Text,
        /// Blaming this method; `None` for any.
        culprit: Option<MethodId>,
    },
    /// The end of the TCP connection without a close.
    SilentClose,
}

/// What a reply text has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Anything.
    Any,
    /// Exactly this.
    Is(String),
    /// Anything that starts so.
    Starts(String),
    /// Anything with this in it.
    Contains(String),
    /// One of these.
    OneOf(Vec<Self>),
}

impl Text {
    /// Anything.
    #[must_use]
    pub fn any() -> Self {
        Self::Any
    }

    /// Anything that starts so; for texts whose rest is a term of Erlang's (ERR-10).
    pub fn starts(text: impl Into<String>) -> Self {
        Self::Starts(text.into())
    }

    /// Anything with this in it.
    pub fn contains(text: impl Into<String>) -> Self {
        Self::Contains(text.into())
    }

    /// One of several.
    pub fn one_of<T: Into<Self>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::OneOf(texts.into_iter().map(Into::into).collect())
    }

    /// Whether a text is what it has to be.
    #[must_use]
    pub fn matches(&self, came: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(text) => came == text,
            Self::Starts(text) => came.starts_with(text),
            Self::Contains(text) => came.contains(text),
            Self::OneOf(texts) => texts.iter().any(|text| text.matches(came)),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Is(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Is(text)
    }
}

impl Expected {
    /// A method.
    #[must_use]
    pub fn method(channel: u16, id: MethodId) -> Self {
        Self::Method { channel, id }
    }

    /// A channel.close.
    pub fn channel_close(
        channel: u16,
        code: u16,
        text: impl Into<Text>,
        culprit: MethodId,
    ) -> Self {
        Self::ChannelClose {
            channel,
            code: Some(code),
            text: text.into(),
            culprit: Some(culprit),
        }
    }

    /// A channel.close with any code and culprit.
    pub fn any_channel_close(channel: u16, text: impl Into<Text>) -> Self {
        Self::ChannelClose {
            channel,
            code: None,
            text: text.into(),
            culprit: None,
        }
    }

    /// A connection.close.
    pub fn connection_close(code: u16, text: impl Into<Text>, culprit: MethodId) -> Self {
        Self::ConnectionClose {
            code,
            text: text.into(),
            culprit: Some(culprit),
        }
    }

    /// A connection.close that may blame any method.
    pub fn connection_close_for_any_method(code: u16, text: impl Into<Text>) -> Self {
        Self::ConnectionClose {
            code,
            text: text.into(),
            culprit: None,
        }
    }

    pub(super) fn patience(&self, otherwise: Duration) -> Duration {
        match self {
            Self::SilentClose => SILENT_CLOSE_PATIENCE.max(otherwise),
            _ => otherwise,
        }
    }

    pub(super) fn matches(&self, event: &Event, texts: Texts) -> bool {
        let frame = match (self, event) {
            (Self::SilentClose, Event::End(_)) => return true,
            (_, Event::Frame(frame)) => frame,
            _ => return false,
        };
        match (self, frame.method().ok()) {
            (Self::Method { channel, id }, Some(method)) => {
                frame.channel == *channel && method.id() == *id
            }
            (close, Some(method)) => close.matches_close(frame.channel, &method, texts),
            (_, None) => false,
        }
    }

    fn matches_close(&self, on: u16, came: &OwnedMethod, texts: Texts) -> bool {
        let close = came.read(Close::of);
        let matches = |text: &Text, came: &str| texts == Texts::Free || text.matches(came);
        match (self, close) {
            (
                Self::ChannelClose {
                    channel,
                    code,
                    text,
                    culprit,
                },
                Ok(close),
            ) => {
                !close.is_connection
                    && on == *channel
                    && code.is_none_or(|code| code == close.code)
                    && matches(text, &close.text)
                    && culprit.is_none_or(|culprit| culprit == close.culprit)
            }
            (
                Self::ConnectionClose {
                    code,
                    text,
                    culprit,
                },
                Ok(close),
            ) => {
                close.is_connection
                    && on == 0
                    && *code == close.code
                    && matches(text, &close.text)
                    && culprit.is_none_or(|culprit| culprit == close.culprit)
            }
            _ => false,
        }
    }
}

/// A close of either kind.
struct Close {
    is_connection: bool,
    code: u16,
    text: String,
    culprit: MethodId,
}

impl Close {
    fn of(method: Method<'_>) -> Option<Self> {
        match method {
            Method::Connection(connection::Method::Close(close)) => Some(Self {
                is_connection: true,
                code: close.reply_code,
                text: close.reply_text.to_text().into_owned(),
                culprit: MethodId::new(close.class_id, close.method_id),
            }),
            Method::Channel(channel::Method::Close(close)) => Some(Self {
                is_connection: false,
                code: close.reply_code,
                text: close.reply_text.to_text().into_owned(),
                culprit: MethodId::new(close.class_id, close.method_id),
            }),
            _ => None,
        }
    }
}

impl RawConnection {
    /// Reads what comes next and says which of the expected things it is. A close among them is
    /// answered with close-ok.
    ///
    /// # Errors
    /// It is none of them.
    pub async fn expect_any_of(&mut self, expected: &[Expected]) -> Result<usize, Failure> {
        let patience = expected
            .iter()
            .map(|one| one.patience(self.patience()))
            .max()
            .unwrap_or_default();
        let event = self.next_event_within(patience).await?;
        let Some(which) = expected
            .iter()
            .position(|one| one.matches(&event, self.texts))
        else {
            let wanted: Vec<_> = expected.iter().map(ToString::to_string).collect();
            let failure = Failure::expected(wanted.join(" or "), show(&event));
            return Err(self.explain(failure));
        };
        if let Some(expected) = expected.get(which) {
            self.answer_close(expected).await?;
        }
        Ok(which)
    }

    /// Answers what came with close-ok, if it was a close.
    pub(super) async fn answer_close(&mut self, came: &Expected) -> Result<(), Failure> {
        match came {
            Expected::ChannelClose { channel, .. } => {
                self.send_method(*channel, channel::CloseOk {}).await
            }
            Expected::ConnectionClose { .. } => {
                // A broker that has stopped reading may have gone already (ERR-09).
                let _ = self.send_method(0, connection::CloseOk {}).await;
                Ok(())
            }
            Expected::Method { .. } | Expected::SilentClose => Ok(()),
        }
    }

    /// The next method, whatever it is, on this channel.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_method(&mut self, channel: u16) -> Result<OwnedMethod, Failure> {
        let event = self.next_event().await?;
        match &event {
            Event::Frame(frame) if frame.channel == channel => match frame.method() {
                Ok(method) => Ok(method),
                Err(failure) => Err(self.explain(failure)),
            },
            _ => {
                let wanted = format!("a method on channel {channel}");
                Err(self.explain(Failure::expected(wanted, show(&event))))
            }
        }
    }

    /// This method, next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect(&mut self, channel: u16, id: MethodId) -> Result<OwnedMethod, Failure> {
        let event = self.next_event().await?;
        let expected = Expected::method(channel, id);
        let is_expected = expected.matches(&event, self.texts);
        if let (true, Event::Frame(frame)) = (is_expected, &event) {
            return frame.method();
        }
        Err(self.explain(Failure::expected(expected, show(&event))))
    }

    /// This method, however many other frames come before it.
    ///
    /// # Errors
    /// The connection ends, or falls silent, or talks on for ever.
    pub async fn await_method(
        &mut self,
        channel: u16,
        id: MethodId,
    ) -> Result<OwnedMethod, Failure> {
        let expected = Expected::method(channel, id);
        for _ in 0..SKIPPED_FRAMES_MAX {
            let event = self.next_event().await?;
            match &event {
                Event::Frame(frame) if expected.matches(&event, self.texts) => {
                    return frame.method();
                }
                Event::Frame(_) => {}
                _ => return Err(self.explain(Failure::expected(expected, show(&event)))),
            }
        }
        Err(self.explain(Failure::expected(expected, "only something else")))
    }

    /// A frame of this type on this channel, next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_frame(&mut self, kind: u8, channel: u16) -> Result<RawFrame, Failure> {
        let event = self.next_event().await?;
        match event {
            Event::Frame(frame) if frame.kind == kind && frame.channel == channel => Ok(frame),
            other => {
                let wanted = format!("a frame of type {kind} on channel {channel}");
                Err(self.explain(Failure::expected(wanted, show(&other))))
            }
        }
    }

    /// channel.close, next; answers close-ok.
    ///
    /// # Errors
    /// Something else comes, or another code, text or culprit.
    pub async fn expect_channel_close(
        &mut self,
        channel: u16,
        code: u16,
        text: impl Into<Text>,
        culprit: MethodId,
    ) -> Result<(), Failure> {
        let close = Expected::channel_close(channel, code, text, culprit);
        self.expect_any_of(&[close]).await.map(drop)
    }

    /// connection.close, next; answers close-ok.
    ///
    /// # Errors
    /// Something else comes, or another code, text or culprit.
    pub async fn expect_connection_close(
        &mut self,
        code: u16,
        text: impl Into<Text>,
        culprit: MethodId,
    ) -> Result<(), Failure> {
        let close = Expected::connection_close(code, text, culprit);
        self.expect_any_of(&[close]).await.map(drop)
    }

    /// Checks a text that is not one of a close.
    ///
    /// # Errors
    /// It is another, and texts are compared here.
    pub fn expect_text(&self, came: &str, text: impl Into<Text>) -> Result<(), Failure> {
        let text = text.into();
        match self.texts == Texts::Free || text.matches(came) {
            true => Ok(()),
            false => Err(Failure::expected(text, format!("{came:?}"))),
        }
    }

    /// The end of the TCP connection without any frame before it; returns how long it took.
    ///
    /// # Errors
    /// A frame comes, or the connection stays.
    pub async fn expect_silent_close(&mut self) -> Result<Duration, Failure> {
        let since = Instant::now();
        self.expect_any_of(&[Expected::SilentClose]).await?;
        Ok(since.elapsed())
    }

    /// The same for several connections at once, each with a word for what it did. They wait side
    /// by side, so this takes no longer than for the slowest.
    ///
    /// # Errors
    /// A frame comes on one of them, or one stays.
    pub async fn expect_all_silent(refused: Vec<(String, Self)>) -> Result<(), Failure> {
        for (what, mut raw) in refused {
            let ended = raw.expect_silent_close().await;
            ended.map_err(|failure| failure.at(what))?;
        }
        Ok(())
    }

    /// Nothing at all for this long. It can only show an absence by waiting, so prefer
    /// [`RawConnection::barrier`] wherever an answer of the broker bounds the wait.
    ///
    /// # Errors
    /// Something comes.
    pub async fn expect_nothing(&mut self, wait: Duration) -> Result<(), Failure> {
        match self.next_event_within(wait).await? {
            Event::Nothing => Ok(()),
            event => Err(self.explain(Failure::expected("nothing", show(&event)))),
        }
    }

    /// A round trip on the channel (`channel.flow` and its answer) with nothing before the answer:
    /// shows that all that was sent before has been handled, without a reply and without an error.
    /// Deliveries from a queue may still be under way after it.
    ///
    /// # Errors
    /// Something else comes first.
    pub async fn barrier(&mut self, channel: u16) -> Result<(), Failure> {
        let flow = channel::Flow { active: true };
        self.call(channel, flow, channel::FlowOk::ID)
            .await
            .map(drop)
    }

    /// Sends a method and expects its reply next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn call<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
        reply: MethodId,
    ) -> Result<OwnedMethod, Failure> {
        self.send_method(channel, method).await?;
        self.expect(channel, reply).await
    }
}

pub(super) fn show(event: &Event) -> String {
    match event {
        Event::Frame(frame) => format!("{frame} ({})", show_bytes(&frame.payload)),
        Event::End(end) => format!("the end of the connection ({end:?})"),
        Event::Nothing => "nothing".to_owned(),
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any text"),
            Self::Is(text) => write!(out, "{text:?}"),
            Self::Starts(text) => write!(out, "{text:?}…"),
            Self::Contains(text) => write!(out, "…{text:?}…"),
            Self::OneOf(texts) => {
                let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
                out.write_str(&texts.join(" or "))
            }
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { channel, id } => {
                write!(out, "method {} on channel {channel}", show_id(*id))
            }
            Self::ChannelClose {
                channel,
                code,
                text,
                culprit,
            } => {
                let code = code.map_or_else(|| "any code".to_owned(), |code| code.to_string());
                write!(
                    out,
                    "channel.close on channel {channel} with {code}, {text}"
                )?;
                show_culprit(*culprit, out)
            }
            Self::ConnectionClose {
                code,
                text,
                culprit,
            } => {
                write!(out, "connection.close with {code}, {text}")?;
                show_culprit(*culprit, out)
            }
            Self::SilentClose => out.write_str("the end of the connection without a close"),
        }
    }
}

fn show_culprit(culprit: Option<MethodId>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match culprit {
        Some(id) => write!(out, ", blaming {}", show_id(id)),
        None => Ok(()),
    }
}

fn show_id(id: MethodId) -> String {
    format!("{}/{}", id.class_id, id.method_id)
}

//! The channel numbers of one connection and the state of each.
//!
//! ```text
//!            channel.open                     fault: the server sends channel.close
//!  (unused) ──────────────▶ Open ─────────────────────────────────────▶ ExpectCloseOk
//!      ▲                     │ channel.close, answered                        │ close-ok
//!      └─────────────────────┴────────────────────────────────────────────────┘
//! ```
//!
//! A channel takes a place until its close is agreed (TUNE-13). Low numbers, which is what clients
//! use, are found by index; the others in a map, so that opening channel 65,535 costs no more than
//! opening channel 1.

use std::collections::HashMap;

use super::content::Assembly;

/// Numbers below this are found by index.
const INDEXED_MAX: u16 = 256;

/// One channel's state as far as the protocol is concerned.
#[derive(Debug, Default)]
pub(super) enum ChannelState {
    /// Not open.
    #[default]
    Unused,
    /// Open, and in the middle of a content if there is an assembly.
    Open(Option<Box<Assembly>>),
    /// The server has sent `channel.close`; all but its answer is ignored (CHAN-06).
    ExpectCloseOk,
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    low: Vec<ChannelState>,
    high: HashMap<u16, ChannelState>,
    count: usize,
}

impl Channels {
    /// How many are not unused.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn state(&mut self, channel: u16) -> Option<&mut ChannelState> {
        let state = if channel < INDEXED_MAX {
            self.low.get_mut(usize::from(channel))
        } else {
            self.high.get_mut(&channel)
        };
        state.filter(|state| !matches!(state, ChannelState::Unused))
    }

    pub(super) fn is_open(&mut self, channel: u16) -> bool {
        matches!(self.state(channel), Some(ChannelState::Open(_)))
    }

    pub(super) fn open(&mut self, channel: u16) {
        self.set(channel, ChannelState::Open(None));
    }

    pub(super) fn expect_close_ok(&mut self, channel: u16) -> Option<Box<Assembly>> {
        match self.set(channel, ChannelState::ExpectCloseOk) {
            ChannelState::Open(assembly) => assembly,
            _ => None,
        }
    }

    pub(super) fn release(&mut self, channel: u16) {
        self.set(channel, ChannelState::Unused);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn set(&mut self, channel: u16, state: ChannelState) -> ChannelState {
        let used = !matches!(state, ChannelState::Unused);
        let before = if channel < INDEXED_MAX {
            let index = usize::from(channel);
            if self.low.len() <= index {
                self.low.resize_with(index + 1, ChannelState::default);
            }
            std::mem::replace(&mut self.low[index], state)
        } else if used {
            self.high.insert(channel, state).unwrap_or_default()
        } else {
            self.high.remove(&channel).unwrap_or_default()
        };
        let was_used = !matches!(before, ChannelState::Unused);
        self.count = self.count + usize::from(used) - usize::from(was_used);
        before
    }
}

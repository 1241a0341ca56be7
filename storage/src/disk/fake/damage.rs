//! Damage behind the back of whoever uses a fake disk. It is at once lasting, and open files see it.

use std::io;

use super::FakeDisk;
use super::content::FileContent;
use super::history::{Operation, Recorded};
use super::state::State;

/// What a bad disk or a careless hand does.
impl FakeDisk {
    /// All bytes of a file, if there is one of that name.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.lock().now.named(name)?.bytes.to_vec())
    }

    /// Puts a file there, or other bytes into the one that is: an older copy, say.
    pub fn plant(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let file = match state.find(name) {
            Ok(file) => file,
            Err(_) => state.now.next_file(),
        };
        let name = name.into();
        done(&mut state, Operation::Planted { name, file });
        let bytes = bytes.into();
        done(&mut state, Operation::Damaged { file, bytes });
    }

    /// Takes a file away.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn lose(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.find(name)?;
        done(&mut state, Operation::Lost { name: name.into() });
        Ok(())
    }

    /// Turns one bit over: number 0 is the lowest of the first byte.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `UnexpectedEof` if it is too short.
    pub fn flip_bit(&self, name: &str, bit: u64) -> io::Result<()> {
        self.damage(name, |bytes| {
            let byte = bytes.get_mut(usize::try_from(bit / 8).ok()?)?;
            *byte ^= 1 << (bit % 8);
            Some(())
        })
    }

    /// Cuts a file off.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `UnexpectedEof` if it is shorter.
    pub fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.damage(name, |bytes| {
            let len = usize::try_from(len).ok()?;
            bytes.get(len..)?;
            bytes.truncate(len);
            Some(())
        })
    }

    /// Puts zeros over a part of a file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `UnexpectedEof` if it is shorter.
    pub fn zero(&self, name: &str, at: u64, len: u64) -> io::Result<()> {
        self.damage(name, |bytes| {
            let at = usize::try_from(at).ok()?;
            let end = at.checked_add(usize::try_from(len).ok()?)?;
            bytes.get_mut(at..end)?.fill(0);
            Some(())
        })
    }

    fn damage(
        &self,
        name: &str,
        change: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.find(name)?;
        let FileContent { bytes, .. } = state.now.file(file);
        let mut bytes = bytes.to_vec();
        change(&mut bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = bytes.into();
        done(&mut state, Operation::Damaged { file, bytes });
        Ok(())
    }
}

fn done(state: &mut State, operation: Operation) {
    let failed = None;
    state.record(Recorded { operation, failed });
}

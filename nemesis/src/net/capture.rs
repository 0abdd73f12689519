//! Writes what the nodes sent to a pcap file that Wireshark and tcpdump read.
//!
//! Captured is what the switch was given, before any rule: packets that a fault dropped are in the file, copies that
//! it made are not. Long packets are cut, and the file keeps the *first* part of a run up to a size: how a run began
//! explains more than how it ended, and a file that is cut at its end stays readable.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// Bytes of a packet that are kept: all headers and the beginning of what they carry.
const SNAP_BYTES: usize = 512;
/// The file's size limit.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Marks a pcap file whose timestamps have nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;

/// How complete a capture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureState {
    /// Packets in the file.
    pub packets: u64,
    /// Packets that came after it was full or had failed.
    pub left_out: u64,
    /// Why writing failed, if it did.
    pub error: Option<String>,
}

/// An open capture file.
pub(super) struct Capture<W: Write> {
    out: BufWriter<W>,
    bytes: u64,
    open: bool,
    /// Whether the buffer holds something.
    pending: bool,
}

impl Capture<File> {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Self::new(File::create(path)?)
    }
}

impl<W: Write> Capture<W> {
    fn new(out: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        header.extend_from_slice(&2_u16.to_le_bytes());
        header.extend_from_slice(&4_u16.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&(SNAP_BYTES as u32).to_le_bytes());
        header.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        out.write_all(&header)?;
        out.flush()?;
        Ok(Self { out, bytes: header.len() as u64, open: true, pending: false })
    }

    /// Adds a packet while there is room.
    pub(super) fn record(&mut self, packet: &[u8], state: &Mutex<CaptureState>) {
        let kept = &packet[..packet.len().min(SNAP_BYTES)];
        let record_bytes = 16 + kept.len() as u64;
        if self.open && self.bytes + record_bytes > FILE_BYTES_MAX {
            self.open = false;
            tracing::warn!(bytes = self.bytes, "the capture is full; it keeps the first part of the run");
        }
        if !self.open {
            lock(state).left_out += 1;
            return;
        }
        let written = self.write_record(packet.len(), kept);
        self.bytes += record_bytes;
        self.pending = true;
        match written {
            Ok(()) => lock(state).packets += 1,
            Err(error) => self.fail(&error, state),
        }
    }

    /// Hands what is buffered to the kernel, so that it survives the harness.
    pub(super) fn flush(&mut self, state: &Mutex<CaptureState>) {
        if !self.pending {
            return;
        }
        self.pending = false;
        if let Err(error) = self.out.flush() {
            self.fail(&error, state);
        }
    }

    fn write_record(&mut self, length: usize, kept: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        // Seconds have 32 bits in this format; they wrap in 2106.
        let seconds = now.as_secs() as u32;
        for field in [seconds, now.subsec_nanos(), kept.len() as u32, length as u32] {
            self.out.write_all(&field.to_le_bytes())?;
        }
        self.out.write_all(kept)
    }

    /// The network goes on without its capture: it is there to explain a run, not to end it.
    fn fail(&mut self, error: &io::Error, state: &Mutex<CaptureState>) {
        if self.open {
            tracing::warn!(%error, "failed to write the capture; it ends here");
            lock(state).error = Some(error.to_string());
        }
        self.open = false;
        self.pending = false;
    }
}

fn lock(state: &Mutex<CaptureState>) -> std::sync::MutexGuard<'_, CaptureState> {
    state.lock().expect("nobody panics while holding the state of the capture")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps only its first bytes, and counts all.
    struct Counting(Vec<u8>, u64);

    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let kept = bytes.len().min(4096_usize.saturating_sub(self.0.len()));
            self.0.extend_from_slice(&bytes[..kept]);
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }

    #[test]
    fn long_packets_are_cut_and_their_length_is_kept() {
        let state = Mutex::default();
        let mut capture = Capture::new(Counting(Vec::new(), 0)).expect("memory does not fail");
        capture.record(&[7; 1500], &state);
        capture.record(&[8; 40], &state);
        capture.flush(&state);
        let bytes = &capture.out.get_ref().0;
        assert_eq!((word(bytes, 0), word(bytes, 20)), (MAGIC_NANOSECONDS, LINKTYPE_RAW));
        assert_eq!((word(bytes, 32), word(bytes, 36)), (512, 1500));
        let second = 24 + 16 + 512;
        assert_eq!((word(bytes, second + 8), word(bytes, second + 12)), (40, 40));
        assert_eq!(bytes.len(), second + 16 + 40);
        assert_eq!(*lock(&state), CaptureState { packets: 2, left_out: 0, error: None });
    }

    #[test]
    fn the_file_is_bounded_and_says_what_it_left_out() {
        let state = Mutex::default();
        let mut capture = Capture::new(Counting(Vec::new(), 0)).expect("memory does not fail");
        let fits = (FILE_BYTES_MAX - 24) / (16 + SNAP_BYTES as u64);
        for _ in 0..fits + 10 {
            capture.record(&[1; SNAP_BYTES], &state);
        }
        capture.flush(&state);
        assert_eq!(*lock(&state), CaptureState { packets: fits, left_out: 10, error: None });
        assert!(capture.out.get_ref().1 <= FILE_BYTES_MAX);
    }
}

//! A file of devices in requests that a broker takes.

use std::{io::BufRead, sync::Arc};

use countersign_proto::{imported::MAX_IMPORTED_DEVICES, v1::ImportedDevice};
use prost::Message as _;

use super::{
    super::{failure::Failure, output::printable},
    line,
};

/// Bytes of devices in a request: the broker takes requests of 65,536
/// (`limits.max_message_bytes`) unless told otherwise.
const MAX_BYTES: usize = 60_000;
/// The most bytes that a device takes beside its own: tag and length.
const AROUND: usize = 8;

/// Devices with the lines they stand on, and the name of their file.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) file: Arc<str>,
    pub(super) lines: Vec<u64>,
    pub(super) devices: Vec<ImportedDevice>,
}

impl Batch {
    fn new(file: Arc<str>) -> Self {
        Self {
            file,
            lines: Vec::new(),
            devices: Vec::new(),
        }
    }

    /// A fault of the device in this place, with its line.
    pub(super) fn fault(&self, at: usize, what: &str) -> Failure {
        let line = self.lines.get(at).copied().unwrap_or_default();
        Failure::failed(format!("{}:{line}: {}", self.file, printable(what)))
    }

    /// Two halves, of which neither is empty; `None` of one device alone.
    pub(super) fn halves(mut self) -> Option<[Self; 2]> {
        let half = self.devices.len() / 2;
        if half == 0 {
            return None;
        }
        let rest = Self {
            file: self.file.clone(),
            lines: self.lines.split_off(half),
            devices: self.devices.split_off(half),
        };
        Some([self, rest])
    }
}

/// The batches of a file, read as they are asked for.
pub(super) struct Batches<R> {
    from: R,
    file: Arc<str>,
    line: u64,
    /// A device that the last batch had no room for.
    held: Option<(u64, ImportedDevice)>,
    ended: bool,
}

impl<R: BufRead> Batches<R> {
    pub(super) fn new(from: R, file: &str) -> Self {
        Self {
            from,
            file: file.into(),
            line: 0,
            held: None,
            ended: false,
        }
    }

    /// The next device and its line. Empty lines are passed over.
    fn device(&mut self) -> Result<Option<(u64, ImportedDevice)>, Failure> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let fault = |line: u64, what: &dyn std::fmt::Display| {
            let text = format!("{}:{line}: {what}", self.file);
            Failure::failed(printable(&text))
        };
        let mut text = String::new();
        loop {
            text.clear();
            let line = self.line.saturating_add(1);
            let read = self.from.read_line(&mut text);
            if read.map_err(|error| fault(line, &error))? == 0 {
                return Ok(None);
            }
            self.line = line;
            if !text.trim().is_empty() {
                let device = line::read(&text).map_err(|error| fault(line, &error))?;
                return Ok(Some((line, device)));
            }
        }
    }

    fn batch(&mut self) -> Result<Option<Batch>, Failure> {
        let mut batch = Batch::new(self.file.clone());
        let mut bytes = 0_usize;
        while batch.devices.len() < MAX_IMPORTED_DEVICES {
            let Some((line, device)) = self.device()? else {
                break;
            };
            bytes = bytes.saturating_add(device.encoded_len() + AROUND);
            if bytes > MAX_BYTES && !batch.devices.is_empty() {
                self.held = Some((line, device));
                break;
            }
            batch.lines.push(line);
            batch.devices.push(device);
        }
        Ok((!batch.devices.is_empty()).then_some(batch))
    }
}

impl<R: BufRead> Iterator for Batches<R> {
    type Item = Result<Batch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.batch().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn line(n: usize, name: &str) -> String {
        format!(
            r#"{{"user_id":"u{n}","key_algorithm":"ED25519","public_key":"AA","platform":"IOS","display_name":"{name}"}}"#
        )
    }

    fn batches(text: &str) -> Vec<Result<Batch, Failure>> {
        Batches::new(text.as_bytes(), "f").collect()
    }

    #[test]
    fn by_number_by_size_and_past_empty_lines() {
        let text: Vec<_> = (0..450).map(|n| line(n, "")).collect();
        let text = format!("\n{}\n\n", text.join("\n"));
        let found = batches(&text);
        let sizes: Vec<_> = found
            .iter()
            .map(|batch| batch.as_ref().unwrap().devices.len())
            .collect();
        assert_eq!(sizes, [200, 200, 50]);
        let last = found.last().unwrap().as_ref().unwrap();
        assert_eq!(last.lines.last(), Some(&451));
        assert_eq!(last.devices.last().unwrap().user_id, "u449");

        let long = "x".repeat(9_000);
        let text: Vec<_> = (0..20).map(|n| line(n, &long)).collect();
        let mut seen = 0;
        for batch in batches(&text.join("\n")) {
            let batch = batch.unwrap();
            let bytes: usize = batch.devices.iter().map(prost::Message::encoded_len).sum();
            assert!(bytes <= MAX_BYTES);
            for device in &batch.devices {
                assert_eq!(device.user_id, format!("u{seen}"));
                seen += 1;
            }
        }
        assert_eq!(seen, 20);
        // One too large for any request is the broker's to refuse.
        let [one] = <[_; 1]>::try_from(batches(&line(1, &"x".repeat(99_999)))).unwrap();
        assert!(one.unwrap().halves().is_none());
    }

    #[test]
    fn a_fault_ends_it_with_its_line() {
        let text = format!("{}\n\n{{\n{}\n", line(1, ""), line(2, ""));
        let [fault] = <[_; 1]>::try_from(batches(&text)).unwrap();
        let Err(failure) = fault else {
            panic!("read");
        };
        let (_, said) = failure.parts();
        assert!(said.starts_with("f:3: EOF"), "{said}");
        assert!(matches!(batches("\u{fffd}\n").as_slice(), [Err(_)]));
    }

    #[test]
    fn halves_keep_their_lines() {
        let text: Vec<_> = (1..=5).map(|n| line(n, "")).collect();
        let [all] = <[_; 1]>::try_from(batches(&text.join("\n"))).unwrap();
        let [first, second] = all.unwrap().halves().unwrap();
        assert_eq!((first.lines, second.lines), (vec![1, 2], vec![3, 4, 5]));
        assert_eq!(second.devices.first().unwrap().user_id, "u3");
    }
}

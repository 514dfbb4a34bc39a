//! The report as JSON: for `--compare` and for other programs.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::model::{FORMAT, LoadReport};

/// The largest report that is read, in bytes. One of a day has about 30 MB.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("cannot read the report {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is larger than any report.
    #[error("{path} has {bytes} bytes: too large for a report")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It has another format.
    #[error(
        "{path} has the report format {found}, this program reads {FORMAT}: repeat that run with it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The number in it.
        found: u64,
    },
    /// It isn't a report.
    #[error("{path} is no report of a load run: {source}")]
    NoReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Pretty JSON, with a line feed at the end.
///
/// # Errors
/// When a fraction is not finite, which JSON can't express.
pub fn to_string(report: &LoadReport) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

/// Writes it to a file, all or nothing.
///
/// # Errors
/// As the system gives them, naming the file.
pub fn write(report: &LoadReport, path: &Path) -> io::Result<()> {
    write_file(path, &to_string(report)?)
}

/// Reads one that [`write()`] wrote.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<LoadReport, ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > LARGEST {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    parse(&fs::read_to_string(path).map_err(io)?, path)
}

fn parse(text: &str, path: &Path) -> Result<LoadReport, ReadError> {
    #[derive(Deserialize)]
    struct Header {
        format: u64,
    }
    let no_report = |source| ReadError::NoReport {
        path: path.to_owned(),
        source,
    };
    // The format first: whatever else of another one can't be read isn't the
    // reason.
    let Header { format: found } = serde_json::from_str(text).map_err(no_report)?;
    if found != u64::from(FORMAT) {
        return Err(ReadError::Format {
            path: path.to_owned(),
            found,
        });
    }
    serde_json::from_str(text).map_err(no_report)
}

/// Writes a file, all or nothing: beside it first, then in its place.
///
/// # Errors
/// As the system gives them, naming the file.
pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".report-")
            .permissions(readable())
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

/// A report is meant to be shown around; the process's umask still holds.
fn readable() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let report = LoadReport::example();
        write(&report, &path).unwrap();
        assert_eq!(read(&path).unwrap(), report);
        // Over an older one, and nothing is left beside it.
        let bare = LoadReport {
            broker: None,
            series: Vec::new(),
            ..report
        };
        write(&bare, &path).unwrap();
        assert_eq!(read(&path).unwrap(), bare);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_format_is_named() {
        let path = Path::new("old.json");
        for (text, message) in [
            (
                r#"{"format": 0, "steps": 5}"#,
                "old.json has the report format 0, this program reads 1: repeat that run with it",
            ),
            (
                r#"{"format": 99999999999}"#,
                "old.json has the report format 99999999999, this program reads 1: repeat that run with it",
            ),
            (
                r#"{"format": 1}"#,
                "old.json is no report of a load run: missing field `title` at line 1 column 13",
            ),
            (
                "{}",
                "old.json is no report of a load run: missing field `format` at line 1 column 2",
            ),
            (
                "",
                "old.json is no report of a load run: EOF while parsing a value at line 1 column 0",
            ),
        ] {
            assert_eq!(parse(text, path).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn fields_of_a_later_program_do_no_harm() {
        let mut value = serde_json::to_value(LoadReport::example()).unwrap();
        value
            .as_object_mut()
            .unwrap()
            .insert("weather".into(), "fine".into());
        parse(&value.to_string(), Path::new("new.json")).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_file(Path::new("/nonexistent/run.json"), "").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write /nonexistent/run.json: ")
        );
    }
}

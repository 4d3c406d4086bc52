//! Downloads, with curl: it knows proxies, certificates and redirects of every machine, and costs
//! no time to build.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Limits of a download.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// To connect.
    pub connect: Duration,
    /// Bytes per second, on average over `pause`, at a resolution of seconds.
    pub slowest: u64,
    pub pause: Duration,
    /// Bytes in all.
    pub bytes: u64,
}

/// Why a download failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The server has no such file.
    Missing(String),
    /// The connection broke, or the server failed: another attempt may work.
    Broken(String),
    /// The server, or this machine, will fail again.
    Final(String),
    /// What was received could not be kept.
    Write(io::Error),
}

/// Time limit of a download, in seconds.
const LONGEST: u32 = 3600;

/// Downloads a file; `keep` takes each part of it.
pub(super) fn download(
    url: &str,
    limits: Limits,
    mut keep: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Problem> {
    let seconds = |time: Duration| time.as_secs_f64().to_string();
    let mut curl = Command::new("curl");
    curl.arg("--disable") // no configuration of the user's; it must come first
        .args(["--silent", "--show-error", "--fail", "--location", "--max-redirs", "5"])
        .args(["--proto", "=http,https", "--proto-redir", "=http,https"])
        .args(["--connect-timeout", &seconds(limits.connect)])
        .args(["--speed-limit", &limits.slowest.to_string()])
        .args(["--speed-time", &limits.pause.as_secs().max(1).to_string()])
        .args(["--max-time", &LONGEST.to_string(), "--max-filesize", &limits.bytes.to_string()])
        .args(["--user-agent", concat!("wninit/", env!("CARGO_PKG_VERSION"))])
        .args(["--write-out", "%{stderr}%{http_code}\n", "--", url])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = curl.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Final(
            "curl is not on this machine; install it (Debian, Ubuntu: apt install curl)".to_owned(),
        ),
        _ => Problem::Final(format!("curl does not start: {error}")),
    })?;
    let mut received = 0;
    let kept = child.stdout.take().map_or(Ok(()), |mut stdout| {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = stdout.read(&mut buffer).map_err(|error| Problem::Broken(error.to_string()))?;
            if n == 0 {
                return Ok(());
            }
            received += n as u64;
            if received > limits.bytes {
                return Err(too_long(limits.bytes));
            }
            keep(&buffer[..n]).map_err(Problem::Write)?;
        }
    });
    if kept.is_err() {
        let _ = child.kill(); // it may have ended
    }
    let output = child.wait_with_output().map_err(|error| Problem::Broken(error.to_string()))?;
    kept?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(problem(code, &said, received, limits)),
        None => Err(Problem::Broken(format!("curl ended with {}", output.status))),
    }
}

fn too_long(bytes: u64) -> Problem {
    Problem::Final(format!("it sends more than the expected {bytes} bytes"))
}

/// The meaning of curl's exit code (`man curl`, "EXIT CODES"). The last line that it printed is the
/// HTTP status.
fn problem(code: i32, said: &str, received: u64, limits: Limits) -> Problem {
    let mut lines = said.lines().rev();
    let status = lines.next().unwrap_or_default();
    let message = lines.next().and_then(|line| line.split_once(") ")).map_or("", |(_, text)| text);
    match code {
        6 => Problem::Final("its name cannot be resolved".to_owned()),
        22 => {
            let why = format!("HTTP status {status}");
            match status.parse().unwrap_or(0) {
                403 | 404 | 410 => Problem::Missing(why),
                500.. => Problem::Broken(why),
                _ => Problem::Final(why),
            }
        }
        28 if received == 0 => Problem::Final("it does not answer".to_owned()),
        28 => Problem::Final(format!("it broke off after {received} bytes ({message})")),
        18 | 52 | 55 | 56 | 92 => {
            Problem::Broken(format!("it broke off after {received} bytes ({message})"))
        }
        63 => too_long(limits.bytes),
        _ if message.is_empty() => Problem::Final(format!("curl failed with exit code {code}")),
        _ => Problem::Final(message.to_owned()),
    }
}

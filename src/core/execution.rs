//! Execution options. They are not part of a job, because they change no result.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The values of `--device`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Every GPU, or the CPU if there is none.
    Auto,
    /// The CPU.
    Cpu,
    /// Every GPU; an error if there is none.
    AllGpus,
    /// These GPUs.
    Gpus(Vec<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("\"{text}\" is not a device; expected auto, cpu, cuda or cuda:0,1");
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::AllGpus),
            _ => {
                let list = text.strip_prefix("cuda:").ok_or_else(expected)?;
                let gpus: Vec<usize> = list
                    .split(',')
                    .map(|i| i.parse().map_err(|_| expected()))
                    .collect::<Result<_, _>>()?;
                let distinct = gpus.iter().collect::<HashSet<_>>().len();
                if distinct == gpus.len() { Ok(DeviceChoice::Gpus(gpus)) } else { Err(expected()) }
            }
        }
    }
}

/// Whether to recompute activations in the backward pass instead of keeping them. Changes memory and
/// time, never a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Recompute {
    /// If the activations would not fit into memory.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The allowed numbers of workers. Each is a thread; thousands would only compete.
pub(crate) const WORKERS: std::ops::RangeInclusive<i64> = 1..=1024;

/// The longest accepted duration. Adding much longer ones to an `Instant` overflows.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// What to do if no thread can be started.
pub const NO_THREAD: &str =
    "end other processes, or raise the limits on processes and memory (`ulimit -u`, `ulimit -v`)";

/// Parses a duration such as `90s`, `30m`, `1.5h` or `1d`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || format!("\"{text}\" is not a duration; expected 90s, 30m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        'd' => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    if !(0.0..).contains(&number) || number.is_infinite() {
        return Err(expected());
    }
    let time = Duration::try_from_secs_f64(number * seconds).ok().filter(|time| *time <= LONGEST);
    time.ok_or_else(|| format!("\"{text}\" is too long a time; the longest is 36500d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed_by_name_and_number() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda:0,2".parse(), Ok(DeviceChoice::Gpus(vec![0, 2])));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:0,0", "cuda:-1", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("1.5h"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "5", "h", "-1h", "2 weeks", "1e300d", "5µ"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        for wrong in ["nans", "infs", "-0.1s"] {
            assert!(
                parse_time(wrong).is_err_and(|error| error.contains("is not a duration")),
                "{wrong}"
            );
        }
        assert_eq!(parse_time("36500d"), Ok(LONGEST));
        for long in ["36501d", "9.3e18s", "1e300d"] {
            assert!(parse_time(long).is_err_and(|error| error.contains("too long")), "{long}");
        }
    }
}

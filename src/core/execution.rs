//! How a sweep is executed. None of it is part of a job, because none of it may change a result.

use std::str::FromStr;
use std::time::Duration;

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `--device` may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Every GPU there is, or else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// Every GPU; an error where there is none.
    AllGpus,
    /// These GPUs.
    Gpus(Vec<usize>),
}

impl FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("\"{text}\" is no device; expected auto, cpu, cuda or cuda:0,1");
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::AllGpus),
            _ => {
                let list = text.strip_prefix("cuda:").ok_or_else(expected)?;
                let gpus: Vec<usize> = list
                    .split(',')
                    .map(|i| i.parse().map_err(|_| expected()))
                    .collect::<Result<_, _>>()?;
                let mut distinct = gpus.clone();
                distinct.sort_unstable();
                distinct.dedup();
                if distinct.len() == gpus.len() { Ok(Choice::Gpus(gpus)) } else { Err(expected()) }
            }
        }
    }
}

/// Whether to compute activations again on the way back instead of keeping them all. Changes
/// memory and time, never a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Recompute {
    /// Where the activations would not fit into memory.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A time such as `90s`, `30m`, `1.5h` or `1d`.
///
/// # Errors
/// Says what is expected.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || format!("\"{text}\" is no time; expected 90s, 30m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        'd' => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_asked_for_by_name_and_number() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda:0,2".parse(), Ok(Choice::Gpus(vec![0, 2])));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:0,0", "cuda:-1", ""] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("1.5h"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "5", "h", "-1h", "2 weeks", "1e300d", "5µ"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}

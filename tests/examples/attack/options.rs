//! The command line.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use posthouse_tests::{
    attack::{self, Attack, Kind},
    harness::binaries,
};

/// The help text.
pub const HELP: &str = "\
attack [memory|neighbour|places] [OPTION...] [ATTACK...]

  --server PATH        the posthouse binary that is attacked; that of this build, unless given
  --seconds N          how long each attack lasts
  --connections N,...  of each attack, one measurement for each number
  --at-once N          memory: how many attacks go on at once, each against a server of its own
  --pairs N            neighbour: how many times quiet and flood are measured in turn
  --processors A,B     neighbour: attackers run on A, server and neighbour on B; 0,1 unless given
  --seed N             of everything that is random
  --out FILE           one JSON object for each result, besides the table
  --list               names all attacks";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Memory,
    Neighbour,
    Slots,
    All,
}

pub struct Options {
    pub measure: Measure,
    pub server: PathBuf,
    seconds: Option<u64>,
    connections: Vec<usize>,
    pub at_once: usize,
    pub pairs: Option<usize>,
    pub processors: (String, String),
    pub seed: u64,
    pub out: Option<PathBuf>,
    pub list: bool,
    /// How many files a process may have open: the soft and the hard limit.
    pub files: (u64, u64),
    /// When all measurements have to be over.
    pub deadline: Instant,
    names: Vec<&'static Attack>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            measure: Measure::All,
            server: PathBuf::new(),
            seconds: None,
            connections: Vec::new(),
            at_once: 1,
            pairs: None,
            processors: ("0".to_owned(), "1".to_owned()),
            seed: rand::random::<u32>().into(),
            out: None,
            list: false,
            files: files(),
            deadline: Instant::now() + super::ALL,
            names: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "memory" => options.measure = Measure::Memory,
                "neighbour" => options.measure = Measure::Neighbour,
                "places" => options.measure = Measure::Slots,
                "--server" => options.server = PathBuf::from(value()?),
                "--seconds" => options.seconds = Some(number(&value()?)?),
                "--connections" => {
                    options.connections = value()?.split(',').map(number).collect::<Result<_, _>>()?;
                }
                "--at-once" => options.at_once = number(&value()?)?,
                "--pairs" => options.pairs = Some(number(&value()?)?),
                "--processors" => {
                    let value = value()?;
                    let (attackers, others) = value.split_once(',').ok_or("--processors takes A,B")?;
                    options.processors = (attackers.to_owned(), others.to_owned());
                }
                "--seed" => options.seed = number(&value()?)?,
                "--out" => options.out = Some(PathBuf::from(value()?)),
                "--list" => options.list = true,
                name => {
                    let attack = attack::named(name)
                        .ok_or_else(|| format!("there is no attack {name}: see --list"))?;
                    options.names.push(attack);
                }
            }
        }
        if options.server.as_os_str().is_empty() && !options.list {
            options.server = binaries::posthouse();
        }
        Ok(options)
    }

    /// The attacks that were named, or all attacks of these kinds.
    pub fn attacks(&self, kinds: &[Kind]) -> Vec<&'static Attack> {
        if self.names.is_empty() {
            attack::all().filter(|attack| kinds.contains(&attack.kind)).collect()
        } else {
            self.names.clone()
        }
    }

    /// How long each attack lasts, in seconds.
    pub fn duration(&self, alone: u64, among_all: u64) -> Duration {
        let unless = if self.measure == Measure::All { among_all } else { alone };
        Duration::from_secs(self.seconds.unwrap_or(unless))
    }

    /// The numbers of connections to measure with.
    pub fn connections(&self, alone: &[usize], among_all: &[usize]) -> Vec<usize> {
        match (self.connections.is_empty(), self.measure) {
            (false, _) => self.connections.clone(),
            (true, Measure::All) => among_all.to_vec(),
            (true, _) => alone.to_vec(),
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn files() -> (u64, u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

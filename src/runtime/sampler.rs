//! Tokens drawn where the logits are: the graph `draw` of a bundle, on the device of the model. Only some numbers for each
//! token go there, and the token and how likely it is come back.

use std::path::Path;
use std::time::Duration;

use ort::memory::Allocator;
use ort::value::{DynTensor, Tensor};

use super::device::report::GraphReport;
use super::exit::{self, Running};
use super::{Dim, Element, Graph, GraphOptions, Interrupt, Port, failed};
use crate::sample::SampleQuery;
use crate::support::error::{Error, Result};

/// Draws for one model.
pub(crate) struct DeviceSampler {
    graph: Graph,
    codes: usize,
}

/// A token and the logarithm of its probability before guidance and cuts. No token where a logit was not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampledToken {
    pub token: Option<u32>,
    pub log_probability: f32,
}

/// What a call takes in memory beside the logits, about: sixteen comparisons with each, as bytes and as floats.
const BYTES_A_CODE: usize = 16 * 5;
/// More tokens are drawn one part after the other.
const LARGEST_CALL: usize = 256 << 20;

impl DeviceSampler {
    /// Compiles the graph `path` for `codes` codes, and draws a token with it: a provider may take a graph and then fail at
    /// it.
    pub fn open(path: &Path, options: &GraphOptions, codes: usize) -> Result<Self> {
        use Dim::{Free, Is};
        let inputs = [
            Port::floats("logits", &[Free, Free, Is(codes)]),
            Port::ids("cond", &[Free]),
            Port::ids("uncond", &[Free]),
            Port::floats("settings", &[Free, Is(6)]),
            Port { element: Element::Bool, ..Port::ids("cut", &[Is(1)]) },
        ];
        let outputs = [Port::floats("drawn", &[Free, Is(2)])];
        let drawer = Self { graph: Graph::compile(path, options, None, &inputs, &outputs)?, codes };
        let fail = |error| exit::reason(failed(drawer.graph.name(), error));
        let _inside = exit::enter()?;
        let last = codes - 1;
        let mut logits = vec![0f32; codes];
        logits[last] = 1.0;
        let logits = Tensor::from_array(([1, 1, codes], logits)).map_err(fail)?.upcast();
        let greedy = crate::sample::Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let asked = [SampleQuery::sampled(greedy, codes, 0, None, 0.0), SampleQuery::given(0, last as u32)];
        let found = drawer.draw(&logits, &asked, &Interrupt::new()?)?;
        let likely = 1.0 - libm::log(std::f64::consts::E + last as f64) as f32;
        let right = |drawn: &SampledToken| {
            drawn.token == Some(last as u32) && (drawn.log_probability - likely).abs() < 1e-3 * likely.abs().max(1.0)
        };
        if found.len() == asked.len() && found.iter().all(right) {
            return Ok(drawer);
        }
        let reason = format!("it draws {found:?} where token {last} of log-probability {likely} should be");
        Err(Error::Failed { graph: drawer.graph.name().to_owned(), reason })
    }

    /// Draws what is asked for from logits `[rows, query, codes]`, wherever they are.
    pub fn draw(&self, logits: &DynTensor, asked: &[SampleQuery], interrupt: &Interrupt) -> Result<Vec<SampledToken>> {
        let _inside = exit::enter()?;
        let _running = Running::new(interrupt.options());
        let fail = |error| exit::reason(failed(self.graph.name(), error));
        let mut drawn = crate::support::memory::reserve("tokens", asked.len())?;
        for part in asked.chunks((LARGEST_CALL / (BYTES_A_CODE * self.codes)).max(1)) {
            self.part(logits, part, interrupt, &mut drawn).map_err(fail)?;
        }
        Ok(drawn)
    }

    fn part(
        &self,
        logits: &DynTensor,
        asked: &[SampleQuery],
        interrupt: &Interrupt,
        drawn: &mut Vec<SampledToken>,
    ) -> ort::Result<()> {
        let count = asked.len();
        let rows = |row: fn(&SampleQuery) -> usize| {
            Tensor::from_array(([count], asked.iter().map(|asked| row(asked) as i64).collect::<Vec<_>>()))
        };
        let (cond, uncond) = (rows(|asked| asked.cond)?, rows(|asked| asked.uncond)?);
        let settings: Vec<f32> = asked.iter().flat_map(|asked| asked.settings).collect();
        let settings = Tensor::from_array(([count, 6], settings))?;
        let cut = Tensor::from_array(([1], vec![asked.iter().any(|asked| asked.filtered)]))?;
        let mut found = Tensor::<f32>::new(&Allocator::default(), [count, 2])?;
        let mut session = self.graph.lock();
        let mut binding = session.create_binding()?;
        binding.bind_input("logits", logits)?;
        binding.bind_input("cond", &cond)?;
        binding.bind_input("uncond", &uncond)?;
        binding.bind_input("settings", &settings)?;
        binding.bind_input("cut", &cut)?;
        binding.bind_output("drawn", &mut found)?;
        self.graph.timed(|| session.run_binding_with_options(&binding, interrupt.options()).map(drop))?;
        let codes = self.codes as f32;
        drawn.extend(found.extract_tensor().1.as_chunks::<2>().0.iter().map(|&[token, log_probability]| {
            SampledToken { token: (token >= 0.0 && token < codes).then_some(token as u32), log_probability }
        }));
        Ok(())
    }

    pub fn spent(&self) -> Duration {
        self.graph.spent()
    }

    pub fn report(&self) -> Result<GraphReport> {
        self.graph.report()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::runtime::{Device, DeviceOptions, Spinning};
    use crate::sample::{Sampler, Sampling, log_probability, uniform};

    fn drawer(bundle: &str, codes: usize) -> DeviceSampler {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(bundle).join("draw.onnx");
        let options = GraphOptions {
            device: Device::Cpu,
            device_options: DeviceOptions::default(),
            threads: 1,
            spinning: Spinning::Runs,
        };
        DeviceSampler::open(&path, &options, codes).unwrap()
    }

    /// Logits as a model gives them: about normal, of a width of 2. In steps of `step`, so that some are alike.
    fn logits(of: u64, count: usize, step: f32) -> Vec<f32> {
        let one = |at: u64| uniform(of, at) - 0.5;
        (0..count as u64)
            .map(|at| {
                let value = (0..12).map(|k| one(at * 12 + k)).sum::<f32>() * 2.0;
                if step > 0.0 { (value / step).round() * step } else { value }
            })
            .collect()
    }

    const ROWS: usize = 24;

    /// Draws `rounds` times [`ROWS`] tokens by the graph and by the sampler; how many there were, and how many differ.
    fn differing(drawer: &DeviceSampler, sampling: Sampling, step: f32, rounds: u64) -> (usize, usize) {
        let codes = drawer.codes;
        let (mut all, mut other) = (0, 0);
        for round in 0..rounds {
            let values = logits(round, ROWS * codes, step);
            let row = |row: usize| &values[row * codes..][..codes];
            let tensor = Tensor::from_array(([ROWS / 4, 4, codes], values.clone())).unwrap().upcast();
            let uncond = |at: usize| (at.is_multiple_of(3)).then_some(((at * 7 + 1) % ROWS, 1.7));
            let random = |at: usize| uniform(round + 1000, at as u64);
            let asked: Vec<SampleQuery> =
                (0..ROWS).map(|at| SampleQuery::sampled(sampling, codes, at, uncond(at), random(at))).collect();
            let drawn = drawer.draw(&tensor, &asked, &Interrupt::new().unwrap()).unwrap();
            for (at, drawn) in drawn.iter().enumerate() {
                let guided = uncond(at).map(|(other, scale)| (row(other), scale));
                let want = Sampler::default().sample(sampling, row(at), guided, random(at)).unwrap();
                let token = drawn.token.unwrap();
                all += 1;
                other += usize::from(token != want);
                let likely = log_probability(row(at), token).unwrap();
                assert!((drawn.log_probability - likely).abs() < 1e-5, "{} {likely}", drawn.log_probability);
            }
        }
        (all, other)
    }

    /// A token is another only where its random number, or a border of top-p, lies within rounding: sums of up to 4096
    /// floats are off by a few times 2^-24, and a code's share of the numbers has two ends. So of some thousand tokens
    /// hardly one differs.
    #[test]
    fn the_graph_draws_what_the_sampler_draws() {
        let settings = [
            Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 },
            Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 },
            Sampling { temperature: 1.0, top_k: 5, top_p: 1.0 },
            Sampling { temperature: 0.7, top_k: 0, top_p: 0.9 },
            Sampling { temperature: 1.3, top_k: 12, top_p: 0.6 },
            Sampling { temperature: 1.0, top_k: 0, top_p: 1e-6 },
            Sampling { temperature: 1e-7, top_k: 0, top_p: 1.0 },
        ];
        let (small, sprites) = (drawer("tests/data/small", 16), drawer("onnx/bundles/sprites", 4096));
        let (mut all, mut other) = (0, 0);
        for sampling in settings {
            for (drawer, rounds) in [(&small, 40), (&sprites, 4)] {
                let (count, differ) = differing(drawer, sampling, 0.0, rounds);
                // With steps there are ties: at the border of top-k all stay, at that of top-p the first ones do.
                let (more, alike) = differing(drawer, sampling, 0.25, rounds);
                (all, other) = (all + count + more, other + differ + alike);
            }
        }
        println!("{other} of {all} tokens differ");
        assert!(all > 10_000 && other * 5_000 <= all, "{other} of {all} tokens differ");
    }

    #[test]
    fn what_is_not_a_number_is_not_drawn_from() {
        let drawer = drawer("tests/data/small", 16);
        let plain = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![0.0; 48];
            values[16 + 7] = bad;
            let tensor = Tensor::from_array(([3, 1, 16], values)).unwrap().upcast();
            let asked = [(0, None), (1, None), (0, Some((1, 2.0))), (2, Some((0, 2.0)))]
                .map(|(cond, uncond)| SampleQuery::sampled(plain, 16, cond, uncond, 0.5));
            let drawn = drawer.draw(&tensor, &asked, &Interrupt::new().unwrap()).unwrap();
            assert_eq!(
                drawn.iter().map(|d| d.token.is_some()).collect::<Vec<_>>(),
                [true, false, false, true],
                "{bad}"
            );
        }
    }

    #[test]
    fn many_are_drawn_in_parts() {
        let drawer = drawer("onnx/bundles/sprites", 4096);
        let values = logits(3, 2 * 4096, 0.0);
        let tensor = Tensor::from_array(([2, 1, 4096], values)).unwrap().upcast();
        let greedy = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let count = LARGEST_CALL / (BYTES_A_CODE * 4096) + 3;
        let asked: Vec<SampleQuery> =
            (0..count).map(|at| SampleQuery::sampled(greedy, 4096, at % 2, None, 0.0)).collect();
        let drawn = drawer.draw(&tensor, &asked, &Interrupt::new().unwrap()).unwrap();
        assert!(drawn.len() == count && drawn.iter().enumerate().all(|(at, d)| *d == drawn[at % 2]));
        assert_ne!(drawn[0].token, drawn[1].token);
    }
}

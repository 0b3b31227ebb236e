//! Samples tokens on the device, where the logits are: by the graph `draw` of a bundle. For each token, six settings go to
//! the device, and the token and its log-probability come back.

use std::time::Duration;

use ort::memory::Allocator;
use ort::value::{DynTensor, Tensor};

use super::device::GraphReport;
use super::exit::{self, Running};
use super::failure::failed;
use super::graph::Graph;
use super::interrupt::Interrupt;
use super::port::{Dim, Element, Port};
use super::session::{GraphOptions, GraphSource};
use crate::sample::{SampleQuery, Sampling};
use crate::support::error::{Error, Result};
use crate::support::memory;

/// Samples tokens for one model.
pub(crate) struct DeviceSampler {
    graph: Graph,
    codes: usize,
}

/// A sampled token, and its log-probability before guidance, top-k and top-p. `None` when a logit is NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampledToken {
    pub token: Option<u32>,
    pub log_probability: f32,
}

/// Approximate memory of a run for each logit of a token: sixteen comparisons, as bytes and as floats.
const BYTES_A_CODE: usize = 16 * 5;
/// Memory limit of a run. Requests for more tokens are split.
const LARGEST_RUN: usize = 256 << 20;

impl DeviceSampler {
    /// Compiles a graph for `codes` codes and samples one token with it, because a provider may compile a graph
    /// that it cannot run.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::Failed`] when the graph does not compile, does not run, or samples another token.
    pub fn open(source: GraphSource<'_>, options: &GraphOptions, codes: usize) -> Result<Self> {
        use Dim::{Free, Is};
        let inputs = [
            Port::floats("logits", &[Free, Free, Is(codes)]),
            Port::ids("cond", &[Free]),
            Port::ids("uncond", &[Free]),
            Port::floats("settings", &[Free, Is(6)]),
            Port { element: Element::Bool, ..Port::ids("cut", &[Is(1)]) },
        ];
        let outputs = [Port::floats("drawn", &[Free, Is(2)])];
        let sampler = Self { graph: Graph::compile(source, options, None, &inputs, &outputs)?, codes };
        let fail = |error| exit::reason(failed(sampler.graph.name(), error));
        let _inside = exit::enter_on(options.device.context())?;
        let last = codes - 1;
        let mut logits = memory::filled("logits", codes, 0f32)?;
        logits[last] = 1.0;
        let logits = Tensor::from_array(([1, 1, codes], logits)).map_err(fail)?.upcast();
        let greedy = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let queries = [SampleQuery::sampled(greedy, codes, 0, None, 0.0), SampleQuery::given(0, last as u32)];
        let found = sampler.sample(&logits, &queries, &Interrupt::new()?)?;
        let expected = 1.0 - libm::log(std::f64::consts::E + last as f64) as f32;
        let right = |sampled: &SampledToken| {
            let error = (sampled.log_probability - expected).abs();
            sampled.token == Some(last as u32) && error < 1e-3 * expected.abs().max(1.0)
        };
        if found.len() == queries.len() && found.iter().all(right) {
            return Ok(sampler);
        }
        let reason = format!("it samples {found:?}; expected token {last} with log-probability {expected}");
        Err(Error::Failed { graph: sampler.graph.name().to_owned(), reason })
    }

    /// Samples a token for each query, from logits `[rows, query, codes]` in the memory of any device.
    pub fn sample(
        &self,
        logits: &DynTensor,
        queries: &[SampleQuery],
        interrupt: &Interrupt,
    ) -> Result<Vec<SampledToken>> {
        let _inside = exit::enter_on(self.graph.context())?;
        let _running = Running::new(interrupt.options());
        let fail = |error| exit::reason(failed(self.graph.name(), error));
        let mut sampled = memory::reserve("tokens", queries.len())?;
        for part in queries.chunks((LARGEST_RUN / (BYTES_A_CODE * self.codes)).max(1)) {
            self.run(logits, part, interrupt, &mut sampled).map_err(fail)?;
        }
        Ok(sampled)
    }

    fn run(
        &self,
        logits: &DynTensor,
        queries: &[SampleQuery],
        interrupt: &Interrupt,
        sampled: &mut Vec<SampledToken>,
    ) -> ort::Result<()> {
        let count = queries.len();
        let rows = |row: fn(&SampleQuery) -> usize| {
            Tensor::from_array(([count], queries.iter().map(|query| row(query) as i64).collect::<Vec<_>>()))
        };
        let (cond, uncond) = (rows(|query| query.cond)?, rows(|query| query.uncond)?);
        let settings: Vec<f32> = queries.iter().flat_map(|query| query.settings).collect();
        let settings = Tensor::from_array(([count, 6], settings))?;
        let cut = Tensor::from_array(([1], vec![queries.iter().any(|query| query.filtered)]))?;
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
        sampled.extend(found.extract_tensor().1.as_chunks::<2>().0.iter().map(|&[token, log_probability]| {
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
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::runtime::{Device, DeviceOptions, GraphContent, Spinning};
    use crate::sample::{Sampler, log_probability, uniform};

    fn sampler(bundle: &str, codes: usize) -> DeviceSampler {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(bundle).join("draw.onnx");
        let options = GraphOptions {
            device: Device::Cpu,
            device_options: DeviceOptions::default(),
            threads: 1,
            parallel_for: None,
            cpus: 1,
            spinning: Spinning::Runs,
            replays: false,
        };
        let content = GraphContent::File(&path);
        let source = GraphSource { name: "draw.onnx", bundle: Path::new(bundle), content };
        DeviceSampler::open(source, &options, codes).unwrap()
    }

    /// Logits like those of a model: about normal, standard deviation 2; rounded to `step`, so that some are equal.
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

    /// Samples `rounds` times [`ROWS`] tokens on the device and on the CPU. Returns how many there were, and how many differ.
    fn differing(device: &DeviceSampler, sampling: Sampling, step: f32, rounds: u64) -> (usize, usize) {
        let codes = device.codes;
        let (mut all, mut other) = (0, 0);
        for round in 0..rounds {
            let values = logits(round, ROWS * codes, step);
            let row = |row: usize| &values[row * codes..][..codes];
            let tensor = Tensor::from_array(([ROWS / 4, 4, codes], values.clone())).unwrap().upcast();
            let uncond = |at: usize| (at.is_multiple_of(3)).then_some(((at * 7 + 1) % ROWS, 1.7));
            let random = |at: usize| uniform(round + 1000, at as u64);
            let queries: Vec<SampleQuery> =
                (0..ROWS).map(|at| SampleQuery::sampled(sampling, codes, at, uncond(at), random(at))).collect();
            let sampled = device.sample(&tensor, &queries, &Interrupt::new().unwrap()).unwrap();
            for (at, sampled) in sampled.iter().enumerate() {
                let guided = uncond(at).map(|(other, scale)| (row(other), scale));
                let want = Sampler::default().sample(sampling, row(at), guided, random(at)).unwrap();
                let token = sampled.token.unwrap();
                all += 1;
                other += usize::from(token != want);
                let expected = log_probability(row(at), token).unwrap();
                assert!((sampled.log_probability - expected).abs() < 1e-5, "{} {expected}", sampled.log_probability);
            }
        }
        (all, other)
    }

    /// Tokens differ only when the random number or a top-p threshold falls within float rounding error: sums of up to 4096
    /// floats are off by a few times 2^-24. At most 1 in 5,000 may differ.
    #[test]
    fn device_sampling_gives_the_tokens_of_cpu_sampling() {
        let settings = [
            Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 },
            Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 },
            Sampling { temperature: 1.0, top_k: 5, top_p: 1.0 },
            Sampling { temperature: 0.7, top_k: 0, top_p: 0.9 },
            Sampling { temperature: 1.3, top_k: 12, top_p: 0.6 },
            Sampling { temperature: 1.0, top_k: 0, top_p: 1e-6 },
            Sampling { temperature: 1e-7, top_k: 0, top_p: 1.0 },
        ];
        let (small, sprites) = (sampler("tests/data/small", 16), sampler("onnx/bundles/sprites", 4096));
        let (mut all, mut other) = (0, 0);
        for sampling in settings {
            for (device, rounds) in [(&small, 40), (&sprites, 4)] {
                let (count, differ) = differing(device, sampling, 0.0, rounds);
                // Rounded logits have ties: at the top-k threshold all stay, at the top-p threshold the first ones do.
                let (more, alike) = differing(device, sampling, 0.25, rounds);
                (all, other) = (all + count + more, other + differ + alike);
            }
        }
        println!("{other} of {all} tokens differ");
        assert!(all > 10_000 && other * 5_000 <= all, "{other} of {all} tokens differ");
    }

    #[test]
    fn nan_or_infinite_logits_give_no_token() {
        let sampler = sampler("tests/data/small", 16);
        let plain = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![0.0; 48];
            values[16 + 7] = bad;
            let tensor = Tensor::from_array(([3, 1, 16], values)).unwrap().upcast();
            let queries = [(0, None), (1, None), (0, Some((1, 2.0))), (2, Some((0, 2.0)))]
                .map(|(cond, uncond)| SampleQuery::sampled(plain, 16, cond, uncond, 0.5));
            let sampled = sampler.sample(&tensor, &queries, &Interrupt::new().unwrap()).unwrap();
            assert_eq!(
                sampled.iter().map(|sampled| sampled.token.is_some()).collect::<Vec<_>>(),
                [true, false, false, true],
                "{bad}"
            );
        }
    }

    #[test]
    fn sampling_many_tokens_is_split_and_gives_all() {
        let sampler = sampler("onnx/bundles/sprites", 4096);
        let values = logits(3, 2 * 4096, 0.0);
        let tensor = Tensor::from_array(([2, 1, 4096], values)).unwrap().upcast();
        let greedy = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let count = LARGEST_RUN / (BYTES_A_CODE * 4096) + 3;
        let queries: Vec<SampleQuery> =
            (0..count).map(|at| SampleQuery::sampled(greedy, 4096, at % 2, None, 0.0)).collect();
        let sampled = sampler.sample(&tensor, &queries, &Interrupt::new().unwrap()).unwrap();
        assert!(sampled.len() == count && sampled.iter().enumerate().all(|(at, token)| *token == sampled[at % 2]));
        assert_ne!(sampled[0].token, sampled[1].token);
    }
}

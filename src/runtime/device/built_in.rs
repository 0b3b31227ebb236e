//! Constructors of the execution providers that can be part of libonnxruntime, with the settings that our results
//! depend on.

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::options::DeviceOptions;

/// Builds the providers of a device with this index, most preferred first. Its options were checked before.
pub(super) type Build = fn(u32, &DeviceOptions) -> Vec<ExecutionProviderDispatch>;

pub(super) fn cpu(_index: u32, _options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    // A CPU provider without options would lose its memory arena.
    vec![ep::CPU::default().with_arena_allocator(true).build()]
}

pub(super) fn cuda(index: u32, options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    vec![configured(cuda_provider(index), options).build()]
}

pub(super) fn tensorrt(index: u32, options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    let tensorrt = configured(ep::TensorRT::default().with_device_id(index as i32), options);
    vec![tensorrt.build(), cuda_provider(index).build()]
}

pub(super) fn directml(index: u32, _options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    vec![ep::DirectML::default().with_device_id(index as i32).build()]
}

pub(super) fn coreml(_index: u32, options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    vec![configured(ep::CoreML::default(), options).build()]
}

pub(super) fn webgpu(_index: u32, options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    vec![configured(ep::WebGPU::default(), options).build()]
}

/// The options that [`migraphx`] takes, each 0 or 1.
pub(super) const MIGRAPHX_FLAGS: [&str; 4] =
    ["migraphx_fp16_enable", "migraphx_fp8_enable", "migraphx_int8_enable", "migraphx_exhaustive_tune"];

pub(super) fn migraphx(index: u32, options: &DeviceOptions) -> Vec<ExecutionProviderDispatch> {
    let provider = ep::MIGraphX::default().with_device_id(index as i32);
    let provider = options.iter().fold(provider, |provider, (key, value)| {
        let on = value == "1";
        match key {
            "migraphx_fp16_enable" => provider.with_fp16(on),
            "migraphx_fp8_enable" => provider.with_fp8(on),
            "migraphx_int8_enable" => provider.with_int8(on),
            "migraphx_exhaustive_tune" => provider.with_exhaustive_tune(on),
            _ => provider,
        }
    });
    vec![provider.build()]
}

/// CUDA with fp32 in full: by default it would use TF32, which keeps 10 of the 23 bits.
fn cuda_provider(index: u32) -> ep::CUDA {
    ep::CUDA::default().with_device_id(index as i32).with_tf32(false)
}

fn configured<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, options: &DeviceOptions) -> P {
    options.iter().fold(provider, |provider, (key, value)| provider.with_arbitrary_config(key, value))
}

//! Which variants of a bundle suit a device, and which of them is preferred.

use super::facts::{Choice, Preference};
use super::name::Device;
use crate::runtime::form::Form;

/// How well a variant suits a device, by the devices that the manifest lists for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suitability {
    /// The variant names the device.
    Named,
    /// The variant is for any device (`*`).
    Any,
    /// The variant is for other devices only.
    Other,
}

impl Device {
    /// How well a variant for `devices` suits this one: words of devices, or `*` for any that runs standard operators.
    pub(crate) fn suitability(&self, devices: &[String]) -> Suitability {
        let facts = self.facts();
        let has = |name: &str| devices.iter().any(|device| device == name);
        match (has(facts.word), has("*"), facts.preference) {
            (true, _, _) | (false, true, Preference::BundleOrder) => Suitability::Named,
            (false, true, Preference::Floats) => Suitability::Any,
            (false, false, _) => Suitability::Other,
        }
    }

    /// Rank of a variant among those that suit this device equally well: the lowest is preferred.
    pub(crate) fn rank(&self, precision: &str, form: &str) -> (u8, bool) {
        match self.facts().preference {
            Preference::BundleOrder => (0, false),
            Preference::Floats => {
                let rank = match precision {
                    "fp16" => 0,
                    precision if precision.starts_with("fp") => 1,
                    _ => 2,
                };
                (rank, form != "fixed")
            }
        }
    }

    /// Whether a variant of `form` may run here. `named`: the caller asked for the form.
    pub(crate) fn allows(&self, form: Form, named: bool) -> bool {
        let facts = self.facts();
        let allows = |choice| choice == Choice::Automatic || (choice == Choice::Named && named);
        match form {
            Form::Native => named || allows(facts.native),
            Form::Fixed => allows(facts.fixed),
            Form::Mha | Form::Plain => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DeviceKind;

    const CUDA: Device = Device::Cuda { index: 1 };

    #[test]
    fn variant_for_any_device_suits_the_cpu_as_one_that_names_it() {
        let devices = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let suits = |device: Device, words: &[&str]| device.suitability(&devices(words));
        assert_eq!(suits(Device::Cpu, &["cpu"]), Suitability::Named);
        assert_eq!(suits(Device::Cpu, &["*"]), Suitability::Named);
        assert_eq!(suits(Device::Cpu, &["cuda"]), Suitability::Other);
        assert_eq!(suits(CUDA, &["cuda"]), Suitability::Named);
        assert_eq!(suits(CUDA, &["cpu", "*"]), Suitability::Any);
        assert_eq!(suits(CUDA, &["cpu"]), Suitability::Other);
    }

    #[test]
    fn devices_prefer_fp16_then_floats_then_integers() {
        let mut variants =
            [("int8", "plain"), ("fp32", "plain"), ("fp16", "plain"), ("fp16", "fixed"), ("fp32", "fixed")];
        variants.sort_by_key(|(precision, form)| CUDA.rank(precision, form));
        let wanted = [("fp16", "fixed"), ("fp16", "plain"), ("fp32", "fixed"), ("fp32", "plain"), ("int8", "plain")];
        assert_eq!(variants, wanted);
        assert!(variants.iter().all(|(precision, form)| Device::Cpu.rank(precision, form) == (0, false)));
    }

    #[test]
    fn forms_are_allowed_where_the_device_runs_them() {
        let openvino = Device::OpenVino { kind: DeviceKind::Cpu };
        let directml = Device::DirectMl { index: 0 };
        for (device, form, named, allowed) in [
            (Device::Cpu, Form::Native, false, true),
            (CUDA, Form::Native, false, false),
            (CUDA, Form::Native, true, true),
            (Device::Cpu, Form::Fixed, false, true),
            (CUDA, Form::Fixed, false, true),
            (directml.clone(), Form::Fixed, false, false),
            (directml, Form::Fixed, true, true),
            (openvino.clone(), Form::Fixed, true, false),
            (openvino, Form::Plain, false, true),
            (Device::Cpu, Form::Mha, false, true),
        ] {
            assert_eq!(device.allows(form, named), allowed, "{device} {form:?} {named}");
        }
    }
}

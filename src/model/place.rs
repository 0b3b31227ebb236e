//! Where the graphs of a model come from: files that ONNX Runtime maps, or memory.

use super::{Codebook, Encoder, signature};
use crate::bundle::{Bundle, FilesInMemory, GraphFile};
use crate::kernels::kv::{KvLayout, SlotTable};
use crate::runtime::{DeviceSampler, Form, Graph, GraphContent, GraphOptions, GraphSource, Lane, Port, SharedWeights};
use crate::support::error::{Error, Result};
use crate::support::log;

/// The bundle that graphs are compiled from, and how.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub bundle: &'a Bundle,
    /// Graphs and weights that are in memory.
    pub files: Option<&'a FilesInMemory>,
    pub options: &'a GraphOptions,
}

impl Place<'_> {
    /// Compiles a graph that may use our own operators in form `native`. One that does not compile, or is not what the
    /// manifest says, is an error of the bundle.
    pub fn compile(
        self,
        file: &str,
        form: Form,
        keys: Option<KvLayout>,
        (inputs, outputs): (Vec<Port>, Vec<Port>),
    ) -> Result<Graph> {
        self.compile_and(file, (form, keys), (inputs, outputs), |graph, _| Ok(graph))
    }

    /// Compiles a graph as [`compile`](Self::compile) does, and makes something of it and of its content.
    fn compile_and<R>(
        self,
        file: &str,
        (form, keys): (Form, Option<KvLayout>),
        (inputs, outputs): (Vec<Port>, Vec<Port>),
        make: impl Fn(Graph, GraphSource<'_>) -> Result<R>,
    ) -> Result<R> {
        let made = self.with(file, |source| {
            let slots = (form == Form::Native).then(|| SlotTable::new(keys));
            make(Graph::compile(source, self.options, slots, &inputs, &outputs)?, source)
        });
        made.map_err(|error| match error {
            Error::Failed { graph, reason } => Error::bundle(self.bundle.path(), format!("{graph}: {reason}")),
            other => other,
        })
    }

    /// Compiles the encoder, and reads its codebook.
    pub fn encoder(self, file: &str, form: Form) -> Result<Encoder> {
        self.compile_and(file, (form, None), signature::encoder_ports(self.bundle), |graph, source| {
            // Pictures are encoded without it.
            let codebook = match Codebook::read(source, self.bundle) {
                Err(error @ Error::OutOfMemory { .. }) => return Err(error),
                read => read.map_err(|error| error.to_string()),
            };
            Ok(Encoder { graph, codebook })
        })
    }

    /// Compiles another session of the autoregressive graph of form `native`, with the slots and weights of the first.
    pub fn lane(
        self,
        file: &str,
        (slots, weights): (&SlotTable, &SharedWeights),
        ports: &(Vec<Port>, Vec<Port>),
    ) -> Result<Lane> {
        self.with(file, |source| Lane::compile(source, self.options, (slots.sibling(), weights), ports))
    }

    /// The sampler of a device, the graph `draw`. Where the provider cannot run it, as where there is none, logits are copied
    /// to the CPU and sampled there: the tokens are the same.
    pub fn sampler(self, draw: &str) -> Option<DeviceSampler> {
        let sampler = self.with(draw, |source| DeviceSampler::open(source, self.options, self.bundle.codes));
        if let Err(why) = &sampler {
            log::emit(log::Severity::Warning, || format!("{why}; tokens are sampled on the CPU"));
        }
        sampler.ok()
    }

    /// Makes something of the graph `file`.
    fn with<R>(self, file: &str, make: impl Fn(GraphSource<'_>) -> Result<R>) -> Result<R> {
        let bundle = self.bundle;
        let make = |content: GraphContent<'_>| make(GraphSource { name: file, bundle: bundle.path(), content });
        if let Some(memory) = self.files.and_then(|files| files.graph(file)) {
            return make(GraphContent::Memory(memory));
        }
        match bundle.graph_file(file)? {
            Some(GraphFile::Path(path)) => return make(GraphContent::File(&path)),
            Some(GraphFile::Inside { graph, folder }) => {
                let made = make(GraphContent::Beside { graph: &graph, folder: &folder });
                if bundle.is_in_place() {
                    return made;
                }
            }
            None => {}
        }
        // Another file took the name of the single file, or ONNX Runtime cannot be told its name. It is still open, and is read.
        log::info(|| {
            format!("{} cannot be mapped: the weights of {file} are read into memory", bundle.path().display())
        });
        let files = FilesInMemory::read(bundle, [file])?;
        let memory = files.graph(file).ok_or_else(|| Error::Internal(format!("{file} was not read")))?;
        make(GraphContent::Memory(memory))
    }
}

//! Generations that wait: their KV cache is packed, or it is freed and computed again from their tokens when they continue.

use super::Generation;
use super::rows::BatchRows;
use crate::plan::Step;
use crate::support::error::Result;
use crate::support::memory::reserve;
use crate::support::sync::Arc;

impl Generation {
    /// Frees the KV cache. The tokens stay; the next steps are those of a request that is given them as a prefix, and
    /// later tokens are the same as without.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); nothing has changed then.
    pub(crate) fn free_cache(&mut self) -> Result<()> {
        let Self { spec, state, .. } = self;
        let (known, each) = (spec.known(state), spec.model.bundle().tokens());
        let rows = if known == 0 {
            BatchRows::all(&spec.asked(), 0)?
        } else {
            let mut prefixes: Vec<Arc<[u32]>> = reserve("a generation", spec.images.len())?;
            prefixes.extend(state.tokens.chunks_exact(each).map(|tokens| Arc::from(&tokens[..known])));
            BatchRows::distinct(&spec.asked(), 0, &prefixes)?
        };
        state.cache = state.cache.without_memory(rows.fed.len());
        state.rows = rows;
        state.fed = 0;
        spec.given = known;
        self.publish();
        Ok(())
    }

    /// Reduces the KV cache to what it holds until the next step, where the form allows it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); nothing has changed then.
    pub(crate) fn pack_cache(&mut self) -> Result<()> {
        self.state.cache.pack(self.state.fed)?;
        self.publish();
        Ok(())
    }

    /// Reserves the memory of a freed or packed cache again. A step does so too.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(crate) fn reserve_cache(&mut self) -> Result<()> {
        let ar = self.spec.model.ar()?;
        self.state.cache.own_rows(ar)
    }

    /// Whether the memory of the next step is reserved.
    pub(crate) fn has_cache(&self) -> bool {
        !self.state.cache.refers()
    }

    /// Bytes of the KV cache; fewer after it was packed, 0 after it was freed.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.state.cache.bytes().0
    }

    /// Changes the number of tokens at which it stops; not below those that there are.
    pub(crate) fn stop_at(&mut self, tokens: usize) {
        self.spec.schedule = self.spec.model.schedule(tokens.max(self.known()));
        self.publish();
    }

    /// The next step, and the number of batch rows that it will feed.
    pub(crate) fn upcoming(&self) -> Option<(Step, usize)> {
        self.next().map(|step| (step, self.spec.rows_of(&self.state, step)))
    }
}

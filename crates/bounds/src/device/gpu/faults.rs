use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

#[cfg(test)]
use super::mischief::Mischief;
use crate::error::{Error, ErrorKind};

/// What a device reported outside of any call: that it was lost, or an error that nobody was waiting for.
///
/// wgpu panics on an uncaught error; here it becomes the next call's `Err`.
#[derive(Debug, Clone)]
pub struct Faults {
    lost: Arc<Mutex<Option<String>>>,
    n_reads: Arc<AtomicU64>,
    /// What happens to everything that is read.
    #[cfg(test)]
    pub mischief: Arc<Mutex<Option<Mischief>>>,
}

impl Faults {
    /// Begins to listen to a device.
    pub fn watch(device: &wgpu::Device) -> Self {
        let faults = Self {
            lost: Arc::default(),
            n_reads: Arc::default(),
            #[cfg(test)]
            mischief: Arc::default(),
        };
        let (uncaught, lost) = (faults.clone(), faults.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaught.note(error.to_string())));
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device is no fault.
            if reason != wgpu::DeviceLostReason::Destroyed {
                lost.note(format!("lost: {message}"));
            }
        });
        faults
    }

    pub(super) fn note(&self, message: String) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    /// Fails if the device has reported anything.
    pub fn check(&self) -> Result<(), Error> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(ErrorKind::Device(message.clone()).into()),
            None => Ok(()),
        }
    }

    /// Calls `work` and turns whatever goes wrong on the device during it into an `Err`.
    pub fn catch<R>(&self, device: &wgpu::Device, work: impl FnOnce() -> R) -> Result<R, Error> {
        self.check()?;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = work();
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        if let Some(error) = pollster::block_on(memory.pop()) {
            return Err(ErrorKind::OutOfMemory(error.to_string()).into());
        }
        if let Some(error) = internal.or(validation) {
            return Err(ErrorKind::Device(error.to_string()).into());
        }
        self.check()?;
        Ok(result)
    }

    /// Makes a buffer with these contents.
    ///
    /// Not `create_buffer_init`, which panics where there is no memory.
    pub fn upload(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        label: &str,
        contents: &[u8],
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, Error> {
        self.catch(device, || {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: contents.len() as u64,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            queue.write_buffer(&buffer, 0, contents);
            buffer
        })
    }

    /// How often somebody has waited for what was submitted.
    pub fn n_reads(&self) -> u64 {
        self.n_reads.load(Ordering::Relaxed)
    }

    /// Waits for everything submitted and returns the contents of a mappable buffer: all of them, or an error.
    pub fn read(&self, device: &wgpu::Device, buffer: &wgpu::Buffer, n_bytes: u64) -> Result<Vec<u8>, Error> {
        self.n_reads.fetch_add(1, Ordering::Relaxed);
        let slice = buffer.slice(..n_bytes);
        let (sender, receiver) = mpsc::channel();
        self.catch(device, || {
            slice.map_async(wgpu::MapMode::Read, move |result| {
                // The receiver is gone only if this call already failed.
                let _ = sender.send(result);
            });
            // wgpu 30 panics if the device is lost while it waits.
            catch_unwind(AssertUnwindSafe(|| device.poll(wgpu::PollType::wait_indefinitely())))
        })?
        .map_err(|_| ErrorKind::Device("it was lost".into()))?
        .map_err(|error| ErrorKind::Device(error.to_string()))?;
        let failed = |problem: String| {
            self.check().err().unwrap_or_else(|| ErrorKind::Device(format!("results cannot be read: {problem}")).into())
        };
        receiver.recv().map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        let bytes = slice.get_mapped_range().map_err(|error| failed(error.to_string()))?.to_vec();
        buffer.unmap();
        #[cfg(test)]
        let bytes = match &mut *self.mischief.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(mischief) => mischief.change(bytes, self),
            None => bytes,
        };
        self.check()?;
        if bytes.len() as u64 != n_bytes {
            return Err(failed(format!("{} bytes came instead of {n_bytes}", bytes.len())));
        }
        Ok(bytes)
    }
}

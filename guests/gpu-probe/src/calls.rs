//! Which functions of `wasi:webgpu` were called.
//!
//! The name of a call is made from what is called and cannot be anything else: `call!` takes a receiver and a function,
//! writes down the receiver's type, as the compiler names it, with the function's name, and makes that very call. It must
//! not know scenarios.

use std::any::type_name;
use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::wasi::logging::logging::{Level, log};

thread_local! {
    static MADE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Calls a function of a resource and writes that down: `call!(RECEIVER, METHOD, ARGUMENTS...)`, and for one without a
/// receiver `call!(TYPE => FUNCTION, ARGUMENTS...)`.
macro_rules! call {
    ($resource:ident => $function:ident $(, $argument:expr)* $(,)?) => {{
        $crate::calls::note::<$crate::webgpu::$resource>(stringify!($function));
        $crate::webgpu::$resource::$function($($argument),*)
    }};
    ($receiver:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        match &$receiver {
            receiver => {
                $crate::calls::note_on(receiver, stringify!($function));
                receiver.$function($($argument),*)
            }
        }
    };
}

/// The same for a call that ends the component: it is told in the log beforehand.
macro_rules! last_call {
    ($($call:tt)*) => {{
        $crate::calls::tell_next();
        call!($($call)*)
    }};
}

thread_local! {
    static TELL: RefCell<bool> = const { RefCell::new(false) };
}

/// The next call is also told in the log, as `calls NAME`.
pub(crate) fn tell_next() {
    TELL.with(|tell| *tell.borrow_mut() = true);
}

/// Writes down a call of `T`'s `function`.
pub(crate) fn note<T>(function: &str) {
    let resource = type_name::<T>().trim_start_matches('&');
    let resource = resource.rsplit("::").next().unwrap_or(resource);
    let function = match function.trim_end_matches('_') {
        "new" => "constructor".to_owned(),
        name => name.replace('_', "-"),
    };
    note_name(&format!("{}.{function}", kebab(resource)));
}

/// The same for a receiver.
pub(crate) fn note_on<T>(_receiver: &T, function: &str) {
    note::<T>(function);
}

/// The way to adapters is the interface's one function outside its resources.
pub(crate) fn get_gpu() -> crate::webgpu::Gpu {
    note_name("get-gpu");
    crate::webgpu::get_gpu()
}

fn note_name(name: &str) {
    if TELL.with(|tell| tell.replace(false)) {
        log(Level::Info, "gpu-probe", &format!("calls {name}"));
    }
    MADE.with(|made| {
        if !made.borrow().contains(name) {
            made.borrow_mut().insert(name.to_owned());
        }
    });
}

/// `GpuBindGroup` as `gpu-bind-group`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

/// What was called since [`forget`].
pub(crate) fn made() -> Vec<String> {
    MADE.with(|made| made.borrow().iter().cloned().collect())
}

/// Begins anew.
pub(crate) fn forget() {
    MADE.with(|made| made.borrow_mut().clear());
}

//! What Android alone needs: iroh asks the system for its name servers through the JVM.

use jni::{
    JNIEnv,
    objects::{JClass, JObject},
};

/// `dev.rhizome.android.Native.install(context)`: hands the application's context to iroh. To be called once, before the first pod is opened.
///
/// # Safety
/// Called by the JVM alone, with what JNI promises.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_dev_rhizome_android_Native_install(
    env: JNIEnv<'_>,
    _: JClass<'_>,
    context: JObject<'_>,
) {
    let Ok(vm) = env.get_java_vm() else { return };
    // Never dropped: iroh keeps it for as long as the process lives.
    let Ok(context) = env.new_global_ref(context) else {
        return;
    };
    let context = std::mem::ManuallyDrop::new(context);
    // SAFETY: the machine and the reference are valid for the rest of the process.
    unsafe {
        iroh::dns::install_android_jni_context(vm.get_java_vm_pointer().cast(), context.as_obj().as_raw().cast())
    };
}

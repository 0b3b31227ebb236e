// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;
import java.util.LinkedHashMap;
import java.util.Map;

/** Options of Model.open; what is not set has its default. */
public final class ModelOptions {
    /** detailflow_spinning. */
    public enum Spinning { DEFAULT, NEVER, RUNS }

    private String device;
    private final Map<String, String> deviceOptions = new LinkedHashMap<>();
    private Boolean allowFallback;
    private Spinning spinning;
    private Integer threads;
    private String precision;
    private String form;
    private Boolean weightsInMemory;
    private Boolean encoder;

    /** Such as "cpu" or "auto". */
    public ModelOptions device(String name) {
        device = name;
        return this;
    }

    public ModelOptions deviceOption(String key, String value) {
        deviceOptions.put(key, value);
        return this;
    }

    public ModelOptions allowFallback(boolean allow) {
        allowFallback = allow;
        return this;
    }

    public ModelOptions spinning(Spinning value) {
        spinning = value;
        return this;
    }

    public ModelOptions threads(int count) {
        threads = Image.unsigned(count, "threads");
        return this;
    }

    /** Such as "int8". */
    public ModelOptions precision(String name) {
        precision = name;
        return this;
    }

    /** "native", "mha", "plain" or "fixed". */
    public ModelOptions form(String name) {
        form = name;
        return this;
    }

    public ModelOptions weightsInMemory(boolean inMemory) {
        weightsInMemory = inMemory;
        return this;
    }

    /** false: the model cannot encode pictures, and opens faster. */
    public ModelOptions encoder(boolean open) {
        encoder = open;
        return this;
    }

    Pointer make() {
        PointerByReference made = new PointerByReference();
        DetailFlowException.check(C.detailflow_model_options_new(made, null));
        Pointer options = made.getValue();
        try {
            set(options);
            return options;
        } catch (RuntimeException error) {
            C.detailflow_model_options_free(options);
            throw error;
        }
    }

    private void set(Pointer options) {
        if (device != null) {
            DetailFlowException.check(C.detailflow_model_options_set_device(options, Text.bytes(device)));
        }
        deviceOptions.forEach((key, value) -> DetailFlowException.check(
            C.detailflow_model_options_set_device_option(options, Text.bytes(key), Text.bytes(value))));
        if (allowFallback != null) {
            DetailFlowException.check(C.detailflow_model_options_set_allow_fallback(options, allowFallback ? 1 : 0));
        }
        if (spinning != null) {
            DetailFlowException.check(C.detailflow_model_options_set_spinning(options, spinning.ordinal()));
        }
        if (threads != null) {
            DetailFlowException.check(C.detailflow_model_options_set_threads(options, threads));
        }
        if (precision != null) {
            DetailFlowException.check(C.detailflow_model_options_set_precision(options, Text.bytes(precision)));
        }
        if (form != null) {
            DetailFlowException.check(C.detailflow_model_options_set_form(options, Text.bytes(form)));
        }
        if (weightsInMemory != null) {
            DetailFlowException.check(C.detailflow_model_options_set_weights_in_memory(options, weightsInMemory ? 1 : 0));
        }
        if (encoder != null) {
            DetailFlowException.check(C.detailflow_model_options_set_encoder(options, encoder ? 1 : 0));
        }
    }
}

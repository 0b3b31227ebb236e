// How a model is opened. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Collections.Generic;

namespace DetailFlow
{
    /// <summary>detailflow_spinning.</summary>
    public enum Spinning
    {
        Default = 0,
        Never = 1,
        Runs = 2,
    }

    /// <summary>Options of Model.Open; null takes the default of each.</summary>
    public sealed class ModelOptions
    {
        /// <summary>Such as "cpu" or "auto".</summary>
        public string Device { get; set; }

        /// <summary>Options of the device, by name.</summary>
        public IDictionary<string, string> DeviceOptions { get; } = new Dictionary<string, string>();

        public bool? AllowFallback { get; set; }
        public Spinning? Spinning { get; set; }
        public int? Threads { get; set; }

        /// <summary>Such as "int8".</summary>
        public string Precision { get; set; }

        /// <summary>"native", "mha", "plain" or "fixed".</summary>
        public string Form { get; set; }

        public bool? WeightsInMemory { get; set; }

        /// <summary>false: the model cannot encode pictures, and opens faster.</summary>
        public bool? Encoder { get; set; }

        internal ModelOptionsHandle ToNative()
        {
            ModelOptionsHandle options;
            Calls.Check(Native.detailflow_model_options_new(out options, IntPtr.Zero));
            try
            {
                if (Device != null)
                {
                    Calls.Check(Native.detailflow_model_options_set_device(options, Utf8.Bytes(Device)));
                }
                foreach (var option in DeviceOptions)
                {
                    Calls.Check(Native.detailflow_model_options_set_device_option(
                        options, Utf8.Bytes(option.Key), Utf8.Bytes(option.Value)));
                }
                if (AllowFallback.HasValue)
                {
                    Calls.Check(Native.detailflow_model_options_set_allow_fallback(options, AllowFallback.Value ? 1u : 0));
                }
                if (Spinning.HasValue)
                {
                    Calls.Check(Native.detailflow_model_options_set_spinning(options, (uint)Spinning.Value));
                }
                if (Threads.HasValue)
                {
                    Calls.Check(Native.detailflow_model_options_set_threads(
                        options, Calls.Unsigned(Threads.Value, "Threads")));
                }
                if (Precision != null)
                {
                    Calls.Check(Native.detailflow_model_options_set_precision(options, Utf8.Bytes(Precision)));
                }
                if (Form != null)
                {
                    Calls.Check(Native.detailflow_model_options_set_form(options, Utf8.Bytes(Form)));
                }
                if (WeightsInMemory.HasValue)
                {
                    Calls.Check(Native.detailflow_model_options_set_weights_in_memory(
                        options, WeightsInMemory.Value ? 1u : 0));
                }
                if (Encoder.HasValue)
                {
                    Calls.Check(Native.detailflow_model_options_set_encoder(options, Encoder.Value ? 1u : 0));
                }
                return options;
            }
            catch
            {
                options.Dispose();
                throw;
            }
        }
    }
}

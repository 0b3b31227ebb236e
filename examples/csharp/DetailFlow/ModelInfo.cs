// What a model is. SPDX-License-Identifier: MIT OR Apache-2.0
namespace DetailFlow
{
    /// <summary>detailflow_model_info; its comments in detailflow.h say more.</summary>
    public sealed class ModelInfo
    {
        /// <summary>Pixels per side of the full image.</summary>
        public int ImageSize { get; }

        /// <summary>3 is RGB, 4 is RGBA.</summary>
        public int Channels { get; }

        public int TokenCount { get; }
        public int GroupSize { get; }
        public int CausalCount { get; }
        public int CodebookSize { get; }
        public int BitsPerToken { get; }
        public int ClassCount { get; }
        public int LevelCount { get; }
        public float Guidance { get; }
        public float Temperature { get; }
        public float TopP { get; }
        public int TopK { get; }
        public bool GradualGuidance { get; }
        public bool CanGenerate { get; }
        public bool CanEncode { get; }
        public string Name { get; }
        public string License { get; }
        public string TokenizerId { get; }
        public string Precision { get; }
        public string Form { get; }
        public string Device { get; }
        public string Path { get; }

        internal ModelInfo(detailflow_model_info info)
        {
            ImageSize = (int)info.image_size;
            Channels = (int)info.channels;
            TokenCount = (int)info.token_count;
            GroupSize = (int)info.group_size;
            CausalCount = (int)info.causal_count;
            CodebookSize = (int)info.codebook_size;
            BitsPerToken = (int)info.bits_per_token;
            ClassCount = (int)info.class_count;
            LevelCount = (int)info.level_count;
            Guidance = info.guidance;
            Temperature = info.temperature;
            TopP = info.top_p;
            TopK = (int)info.top_k;
            GradualGuidance = info.gradual_guidance != 0;
            CanGenerate = info.can_generate != 0;
            CanEncode = info.can_encode != 0;
            Name = Utf8.Read(info.name);
            License = Utf8.Read(info.license);
            TokenizerId = Utf8.Read(info.tokenizer_id);
            Precision = Utf8.Read(info.precision);
            Form = Utf8.Read(info.form);
            Device = Utf8.Read(info.device);
            Path = Utf8.Read(info.path);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import "unsafe"

// TokenFile is what a token file (.dft) says.
type TokenFile struct {
	// 0 none, 1 cut, 2 a group is damaged, 3 foreign bytes follow.
	Damage                    int
	IntactCount, WrittenCount int
	TokenCount, GroupSize     int
	CausalCount, BitsPerToken int
	// NoClass when it has none.
	Class       uint32
	HasSeed     bool
	Seed        uint64
	TokenizerID string
	// The intact tokens.
	Tokens []uint32
}

// EncodeTokens writes a token file in memory. Class NoClass and seed nil leave them out.
func (m *Model) EncodeTokens(tokens []uint32, class uint32, seed *uint64) ([]byte, error) {
	return array(func(data *byte, capacity C.size_t, size *C.size_t) error {
		return m.with(func(model *C.detailflow_model) C.detailflow_status {
			return C.detailflow_dft_encode(model, (*C.uint32_t)(first(tokens)), C.size_t(len(tokens)), C.uint32_t(class),
				(*C.uint64_t)(seed), unsafe.Pointer(data), capacity, size)
		})
	})
}

// CheckTokens says whether the tokens of a token file belong to the model.
func (m *Model) CheckTokens(file []byte) error {
	return m.with(func(model *C.detailflow_model) C.detailflow_status {
		return C.detailflow_dft_check(model, unsafe.Pointer(first(file)), C.size_t(len(file)))
	})
}

// ReadTokenFile reads a token file. A cut or damaged one is not an error: Damage, IntactCount.
func ReadTokenFile(file []byte) (*TokenFile, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var i C.detailflow_dft_info
	i.struct_size = C.uint32_t(unsafe.Sizeof(i))
	data, size := unsafe.Pointer(first(file)), C.size_t(len(file))
	err := call(func() C.detailflow_status { return C.detailflow_dft_get_info(data, size, &i, nil) })
	if err != nil {
		return nil, err
	}
	tokens, err := array(func(t *uint32, capacity C.size_t, count *C.size_t) error {
		return call(func() C.detailflow_status {
			return C.detailflow_dft_get_tokens(data, size, (*C.uint32_t)(t), capacity, count, nil)
		})
	})
	if err != nil {
		return nil, err
	}
	return &TokenFile{
		Damage: int(i.damage), IntactCount: int(i.intact_count), WrittenCount: int(i.written_count),
		TokenCount: int(i.token_count), GroupSize: int(i.group_size), CausalCount: int(i.causal_count),
		BitsPerToken: int(i.bits_per_token), Class: uint32(i.class_index), HasSeed: i.has_seed == 1, Seed: uint64(i.seed),
		TokenizerID: C.GoString(&i.tokenizer_id[0]), Tokens: tokens,
	}, nil
}

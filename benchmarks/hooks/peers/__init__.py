"""One file a peer: its own idiom for each task. `Access` in each file is what the worker runs.

A peer has those of these methods that it can do (`ids` [batch pos]; keys are `resid_post.3`, `z.0`, ...):

    mid(ids)              {"resid_post.<middle>"}, stopping there where the peer can
    streams(ids)          resid_pre, resid_post, attn_out and mlp_out of all layers
    z(ids)                [batch pos n_heads d_head] of all layers
    head_out(ids)         [batch pos n_heads d_model] of all layers
    sweep(cells)          logits [n_cells d_vocab] at the last position, one forward a cell
    sweep_batched(cells)  the same, in whatever batches the peer offers
    steer()               token ids [batch pos] of steered generation
"""

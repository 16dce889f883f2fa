#pragma once

// What a unit says of tensors, in one number, whether it includes the Tensor header before a layer's own or after it.
double tensors_of_first();
double tensors_of_last();

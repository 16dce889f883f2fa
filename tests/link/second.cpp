#include "unit.inl"

const Unit second_unit = {"second", make, copy, resize, use, destroy};

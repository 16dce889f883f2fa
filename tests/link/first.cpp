#include "unit.inl"

const Unit first_unit = {"first", make, copy, resize, use, destroy};

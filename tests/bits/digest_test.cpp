#include "digest.hpp"

#include "catch.hpp"

// The same bits everywhere. (Once more where the unit asks for fast arithmetic: tests/strict.)

using namespace test;

TEMPLATE_LIST_TEST_CASE("the same bits everywhere", "", AllFields) {
  CHECK(digest<TestType>() == known_digests<TestType>().ordinary);
}

TEMPLATE_LIST_TEST_CASE("the same bits everywhere, of bad values", "", AllFields) {
  CHECK(digest_of_bad_values<TestType>() == known_digests<TestType>().bad_values);
}

# Makes eigennorm::compiled: all that depends on the types of numbers alone, compiled once, static or shared (BUILD_SHARED_LIBS).
# Who links it sees declarations only. Same bits, and the same headers.

set(not_for_all EXCLUDE_FROM_ALL)
if(EIGENNORM_BUILD_LIBRARY)
  set(not_for_all "")
endif()
add_library(eigennorm_compiled ${not_for_all}
  src/float.cpp src/half.cpp src/bfloat16.cpp src/double.cpp src/long_double.cpp)
add_library(eigennorm::compiled ALIAS eigennorm_compiled)
target_link_libraries(eigennorm_compiled PUBLIC eigennorm)
target_compile_definitions(eigennorm_compiled INTERFACE EIGENNORM_COMPILED)
set_target_properties(eigennorm_compiled PROPERTIES
  EXPORT_NAME compiled
  OUTPUT_NAME eigennorm
  POSITION_INDEPENDENT_CODE ON
  WINDOWS_EXPORT_ALL_SYMBOLS ON
  # Its symbols are those of templates, which a project's own visibility would hide.
  CXX_VISIBILITY_PRESET default
  VISIBILITY_INLINES_HIDDEN OFF
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
# A library that is not optimized would be no use to anyone.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  target_compile_options(eigennorm_compiled PRIVATE -O2)
endif()

# Of it the unit of float alone, for the project's programs that use no other: all five would more than double what the demo
# waits for.
add_library(eigennorm_float STATIC EXCLUDE_FROM_ALL src/float.cpp)
target_link_libraries(eigennorm_float PUBLIC eigennorm)
target_compile_definitions(eigennorm_float INTERFACE EIGENNORM_COMPILED)
# Training is all arithmetic: a build for debugging or for coverage would take minutes where this takes seconds.
target_compile_options(eigennorm_float PRIVATE $<$<CONFIG:Debug>:-O2>)

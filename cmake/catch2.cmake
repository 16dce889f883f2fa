# Makes eigennorm_catch2: Catch2 2.13 or 3 with its main function, installed or fetched.

find_package(Catch2 CONFIG QUIET)
if(NOT TARGET Catch2::Catch2)
  message(STATUS "EigenNorm: Catch2 is not installed, fetching it")
  include(FetchContent)
  FetchContent_Declare(Catch2
    GIT_REPOSITORY https://github.com/catchorg/Catch2.git
    GIT_TAG v3.7.1
    GIT_SHALLOW TRUE)
  FetchContent_MakeAvailable(Catch2)
  get_target_property(catch2_include Catch2 INTERFACE_INCLUDE_DIRECTORIES)
  set_target_properties(Catch2 PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${catch2_include}")
endif()

add_library(eigennorm_catch2 INTERFACE)
if(TARGET Catch2::Catch2WithMain)
  target_link_libraries(eigennorm_catch2 INTERFACE Catch2::Catch2WithMain)
else()
  add_library(eigennorm_catch_main STATIC catch_main.cpp)
  target_link_libraries(eigennorm_catch_main PUBLIC Catch2::Catch2)
  target_link_libraries(eigennorm_catch2 INTERFACE eigennorm_catch_main)
endif()

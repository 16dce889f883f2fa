# Makes eigennorm::safetensors where nlohmann_json is: the headers of eigennorm, and what eigennorm/safetensors.hpp needs besides.
# EIGENNORM_SAFETENSORS says what happens where it is not installed: AUTO goes without, ON fetches it.

set(EIGENNORM_SAFETENSORS AUTO CACHE STRING "The target eigennorm::safetensors, which needs nlohmann_json: ON, OFF, or AUTO, where it is installed")
set_property(CACHE EIGENNORM_SAFETENSORS PROPERTY STRINGS AUTO ON OFF)

# For another machine it would bring the headers of this one's C library along.
set(eigennorm_json_is_here OFF)
if(EIGENNORM_SAFETENSORS AND NOT (CMAKE_CROSSCOMPILING AND EIGENNORM_SAFETENSORS STREQUAL "AUTO"))
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json 3.8 CONFIG QUIET)
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json AND NOT EIGENNORM_SAFETENSORS STREQUAL "AUTO")
    include(cmake/fetch.cmake)
    eigennorm_fetch_headers(nlohmann_json::nlohmann_json include nlohmann_json https://github.com/nlohmann/json.git v3.11.3
      "eigennorm::safetensors needs nlohmann_json"
      "install nlohmann-json3-dev (Debian) or nlohmann-json (vcpkg, Homebrew, conan), or set EIGENNORM_SAFETENSORS=OFF")
  endif()
  if(TARGET nlohmann_json::nlohmann_json)
    set(eigennorm_json_is_here ON)
  endif()
endif()

# An installed package has the target in any case, and its config file says where nlohmann_json is missing then.
add_library(eigennorm_safetensors INTERFACE)
set_target_properties(eigennorm_safetensors PROPERTIES EXPORT_NAME safetensors)
# A project above may build nlohmann_json as a target of its own, which no export set of this one can name. So what is
# installed has the name alone, which install(EXPORT) does not look up within the inner expression.
target_link_libraries(eigennorm_safetensors INTERFACE eigennorm
  $<BUILD_INTERFACE:nlohmann_json::nlohmann_json> $<INSTALL_INTERFACE:$<1:nlohmann_json::nlohmann_json>>)
if(eigennorm_json_is_here)
  add_library(eigennorm::safetensors ALIAS eigennorm_safetensors)
elseif(EIGENNORM_SAFETENSORS)
  message(STATUS "EigenNorm: without eigennorm::safetensors, which needs nlohmann_json (Debian: nlohmann-json3-dev)")
endif()

include(FetchContent)

# Fetches a header-only library and gives its `folder` of headers to the imported target `target`.
# The library's own CMakeLists.txt is not run: its options, tests and install rules stay out of this build.
function(eigennorm_fetch_headers name repository tag target folder)
  FetchContent_Declare(${name}
    GIT_REPOSITORY ${repository}
    GIT_TAG ${tag}
    GIT_SHALLOW TRUE
    SOURCE_SUBDIR no-cmake-here)
  FetchContent_MakeAvailable(${name})
  FetchContent_GetProperties(${name} SOURCE_DIR source)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE ${source}/${folder})
endfunction()

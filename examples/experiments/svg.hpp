/// Pictures that are tables: rectangles and text, written as SVG.
#pragma once

#include <ostream>
#include <sstream>
#include <string>
#include <utility>

namespace digits::experiments {

class Svg {
 public:
  Svg(int width, int height) : width_(width), height_(height) {}

  void rectangle(double x, double y, double width, double height, const std::string& style) {
    body_ << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\"" << height << "\" " << style
          << "/>\n";
  }
  void write(double x, double y, const std::string& words, const std::string& style) {
    body_ << "<text x=\"" << x << "\" y=\"" << y << "\" " << style << '>' << escaped(words) << "</text>\n";
  }

  void write_to(std::ostream& out) const {
    out << "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << width_
        << "\" height=\"" << height_ << "\" viewBox=\"0 0 " << width_ << ' ' << height_
        << "\" font-family=\"Helvetica, Arial, sans-serif\">\n"
        << "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        << body_.str() << "</svg>\n";
  }

 private:
  static std::string escaped(const std::string& words) {
    std::string result;
    for (const char letter : words) {
      if (letter == '&') {
        result += "&amp;";
      } else if (letter == '<') {
        result += "&lt;";
      } else {
        result += letter;
      }
    }
    return result;
  }

  int width_, height_;
  std::ostringstream body_;
};

}  // namespace digits::experiments
